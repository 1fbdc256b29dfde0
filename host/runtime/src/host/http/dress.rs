//! Credentials of one request: placeholders and `authorization` are filled in when it leaves, and what comes back is
//! searched for them, so that no value ever stands in the plugin's memory.
//!
//! What may be placed is decided before anything is read, so that a test on a stage, where no secret is, sees the same
//! refusals. What cannot be read is a refusal too: nothing was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::tokens::{Origin, Tokens};
use crate::credential::{Auth, TokenPlace};
use crate::destination::{HttpGrant, Target};
use crate::grants::{Denial, Effective, Remedy};
use crate::placeholder::{self, Encoding, Placeholder};
use crate::runtime::Shared;
use crate::scrub::Needles;
use crate::secret::Secret;
use crate::stage::Stage;
use crate::state::Subject;

/// The largest body in which placeholders are filled in. A login is a few hundred bytes; disks need none.
const LARGEST_FILLED: usize = 256 << 10;

/// One admitted request's credentials.
pub(super) struct Credentials {
    pub(super) shared: Arc<Shared>,
    pub(super) effective: Arc<Effective>,
    pub(super) grant: HttpGrant,
    pub(super) target: Target,
    pub(super) origin: Origin,
    /// What the host holds of earlier answers.
    tokens: Tokens,
}

/// What the placeholders of a request ask for.
pub(super) enum Asked {
    /// All of it is granted and there.
    Fine,
    /// A session's token that the host does not hold.
    Lost(String),
}

/// The values of a request, for as long as it and its answer take.
#[derive(Default)]
pub(super) struct Values(BTreeMap<String, (Option<String>, Secret)>);

impl Credentials {
    pub(super) fn new(
        shared: &Arc<Shared>,
        effective: &Arc<Effective>,
        subject: &Subject,
        grant: HttpGrant,
        target: Target,
    ) -> Self {
        let origin = Origin::new(subject, &target);
        Self {
            tokens: shared.tokens.at(&origin),
            shared: Arc::clone(shared),
            effective: Arc::clone(effective),
            grant,
            target,
            origin,
        }
    }

    /// Whether every placeholder names something that this request may hold.
    pub(super) fn check(&self, headers: &HeaderMap, body: &Bytes) -> Result<Asked, Denial> {
        let mut asked = Asked::Fine;
        let bodies = (body.len() <= LARGEST_FILLED).then_some(&**body);
        for text in headers.values().map(HeaderValue::as_bytes).chain(bodies) {
            for (_, placeholder) in placeholder::split(text).0 {
                match placeholder {
                    Placeholder::Secret { name, .. } => {
                        self.effective.check_secret(name, &self.grant, &self.target)?;
                    }
                    Placeholder::Captured { name } if !self.tokens.contains_key(name) => {
                        asked = Asked::Lost(name.to_owned());
                    }
                    Placeholder::Captured { .. } => {}
                    Placeholder::Unknown { name, encoding } => {
                        return Err(Denial {
                            what: format!("the encoding `{encoding}` of the secret `{name}`"),
                            remedy: Remedy::Never("there are xml, json, form, base64 and basic".to_owned()),
                        });
                    }
                }
            }
        }
        Ok(asked)
    }

    /// Reads every secret of the grant: those that are not sent are needed to find them in the answer.
    pub(super) async fn read(&self) -> Result<Values, Denial> {
        let names: BTreeSet<String> = self.grant.named_secrets().map(|(name, _)| name.to_owned()).collect();
        if names.is_empty() {
            return Ok(Values::default());
        }
        let secrets = self.shared.secrets.load_full();
        let read = tokio::task::spawn_blocking(move || {
            let read = |name: String| match secrets.read(&name) {
                Ok(value) => Ok((name, value)),
                Err(error) => Err(unusable(&name, &error.to_string())),
            };
            names.into_iter().map(read).collect::<Result<_, _>>()
        });
        let read = read.await.map_err(|_| unusable("", "it could not be read"))?;
        read.map(Values)
    }

    /// Those that a test gives a value, to find them in scripted answers: a script sees placeholders as they were written.
    pub(super) fn staged(&self, stage: &Stage) -> Values {
        let value = |name: &str| Some((name.to_owned(), (None, stage.secret(name)?.ok()?)));
        Values(self.grant.named_secrets().filter_map(|(name, _)| value(name)).collect())
    }

    /// Fills in what the request may hold.
    pub(super) fn dress(&self, values: &Values, headers: &mut HeaderMap, body: Bytes) -> Result<Bytes, Denial> {
        for value in headers.values_mut() {
            if let Some(filled) = placeholder::fill(value.as_bytes(), |asked| self.value(values, asked))? {
                *value = header(&filled, "a placeholder's value")?;
            }
        }
        if let Some(auth) = &self.grant.auth {
            headers.insert(AUTHORIZATION, authorization(auth, values)?);
        }
        if !self.needles(values).is_empty() || !self.grant.capture.is_empty() {
            // A compressed answer could not be searched.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if body.len() > LARGEST_FILLED {
            return Ok(body);
        }
        let filled = placeholder::fill(&body, |asked| self.value(values, asked))?;
        Ok(filled.map_or(body, Bytes::from_owner))
    }

    fn value(&self, values: &Values, asked: Placeholder<'_>) -> Result<Zeroizing<Vec<u8>>, Denial> {
        match asked {
            Placeholder::Secret { name, encoding } => values.encoded(name, encoding),
            Placeholder::Captured { name } | Placeholder::Unknown { name, .. } => {
                let token = self.tokens.get(name).ok_or_else(|| unusable(name, "it is not there"))?;
                Ok(Zeroizing::new(token.expose().to_vec()))
            }
        }
    }

    /// What must not come back.
    pub(super) fn needles(&self, values: &Values) -> Needles {
        let mut needles = Needles::default();
        for (name, (user, value)) in &values.0 {
            needles.add_secret(name, user.as_deref(), value);
        }
        for (name, token) in &self.tokens {
            needles.add_captured(name, token);
        }
        needles
    }

    /// Tokens that the head of an answer holds; each is put in the keeping of the host.
    pub(super) fn capture_headers(&self, headers: &mut HeaderMap, needles: &mut Needles) {
        for capture in &self.grant.capture {
            match &capture.place {
                TokenPlace::Header(name) => {
                    for value in headers.get_all(name) {
                        self.keep(&capture.name, value.as_bytes(), needles);
                    }
                }
                TokenPlace::Cookie(cookie) => {
                    for value in headers.get_all(http::header::SET_COOKIE) {
                        if let Some(token) = cookie_value(value.as_bytes(), cookie) {
                            self.keep(&capture.name, token, needles);
                        }
                    }
                }
                TokenPlace::Json(_) => {}
            }
        }
    }

    /// Pointers at which the body of an answer may hold a token.
    pub(super) fn pointers(&self) -> Vec<(&str, &str)> {
        let json = self.grant.capture.iter().filter_map(|capture| match &capture.place {
            TokenPlace::Json(pointer) => Some((pointer.as_str(), capture.name.as_str())),
            TokenPlace::Header(_) | TokenPlace::Cookie(_) => None,
        });
        json.collect()
    }

    pub(super) fn keep(&self, name: &str, token: &[u8], needles: &mut Needles) {
        // An empty cookie is a logout; no token is so short.
        if token.len() < crate::secret::SHORTEST {
            return;
        }
        let token = Secret::new(token.to_vec());
        needles.add_captured(name, &token);
        self.shared.tokens.keep(&self.origin, name, token);
    }
}

impl Values {
    fn encoded(&self, name: &str, encoding: Encoding) -> Result<Zeroizing<Vec<u8>>, Denial> {
        let (user, value) = self.0.get(name).ok_or_else(|| unusable(name, "it is not granted"))?;
        let encoded = encoding.apply(user.as_deref(), value.expose());
        encoded.ok_or_else(|| unusable(name, "it has no user, or is no text as this encoding needs it"))
    }
}

fn authorization(auth: &Auth, values: &Values) -> Result<HeaderValue, Denial> {
    let (scheme, value) = match auth {
        Auth::Basic(name) => ("Basic ", values.encoded(name, Encoding::Basic)?),
        Auth::Bearer(name) => ("Bearer ", values.encoded(name, Encoding::Plain)?),
    };
    let line = Zeroizing::new([scheme.as_bytes(), &value].concat());
    header(&line, auth.name())
}

/// A line break in a value would begin a header of its own.
fn header(value: &[u8], name: &str) -> Result<HeaderValue, Denial> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| {
        unusable(
            name,
            "it holds a line break or another character that no header can have",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn unusable(name: &str, why: &str) -> Denial {
    Denial {
        what: format!("the secret `{name}`"),
        remedy: Remedy::Secret(why.to_owned()),
    }
}

/// The value in a `set-cookie` line, if it is this cookie.
fn cookie_value<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    let pair = line.split(|byte| *byte == b';').next()?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (found, value) = pair.split_at_checked(equals)?;
    (found.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}
