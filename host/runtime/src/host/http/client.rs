//! The clients that all plugins share, and what their errors tell a guest.
//!
//! A client is a pool of warm connections and the rules for making new ones: whether names may lead to private
//! addresses, whose certificates are trusted, which certificate is shown. Grants with other rules get another client,
//! so that no connection made under one rule serves under another.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Identity};
use wasmtime_wasi_http::Error;
use zeroize::Zeroizing;

use crate::address::{CheckedResolver, RefusedName, UnknownName};
use crate::destination::HttpGrant;
use crate::secret;

/// A site that does not answer a connection within this is down as far as one call is concerned.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections are given up before common servers (60 s and more) do, so that none dies under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The rules of a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Rules {
    private: bool,
    ca: Option<PathBuf>,
    shown: Option<(PathBuf, PathBuf)>,
}

impl Rules {
    fn of(grant: &HttpGrant) -> Self {
        Self {
            private: grant.private,
            ca: grant.ca.clone(),
            shown: grant.cert.clone().zip(grant.key.clone()),
        }
    }
}

/// One client for each set of rules, made at its first use.
pub(crate) struct Clients {
    made: Mutex<HashMap<Rules, reqwest::Client>>,
}

impl Clients {
    /// Fails if this machine cannot make a client at all.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let public = Rules {
            private: false,
            ca: None,
            shown: None,
        };
        let client = plain(false)?;
        Ok(Self {
            made: Mutex::new(HashMap::from([(public, client)])),
        })
    }

    /// Or why its certificates cannot be used.
    pub(crate) fn of(&self, grant: &HttpGrant) -> Result<reqwest::Client, String> {
        let rules = Rules::of(grant);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&rules) {
            return Ok(client.clone());
        }
        let client = make(&rules)?;
        made.insert(rules, client.clone());
        Ok(client)
    }

    /// Certificate files are read anew at the next use.
    pub(crate) fn forget_certificates(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|rules, _| rules.ca.is_none() && rules.shown.is_none());
    }
}

/// Whether a grant's certificates can be used.
pub(crate) fn try_client(grant: &HttpGrant) -> Result<(), String> {
    let rules = Rules::of(grant);
    if rules.ca.is_some() || rules.shown.is_some() {
        make(&rules)?;
    }
    Ok(())
}

fn make(rules: &Rules) -> Result<reqwest::Client, String> {
    if rules.ca.is_none() && rules.shown.is_none() {
        return plain(rules.private).map_err(|error| error.to_string());
    }
    let mut builder = builder(rules.private);
    if let Some(path) = &rules.ca {
        builder = builder.tls_certs_only(authorities(path)?);
    }
    if let Some((certificate, key)) = &rules.shown {
        builder = builder.identity(identity(certificate, key)?);
    }
    builder.build().map_err(|error| {
        let why = std::iter::successors(error.source(), |error| (*error).source()).last();
        let why = why.map_or(error.to_string(), ToString::to_string);
        format!("the certificates of the grant: {why}")
    })
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let wrong = |why: &str| format!("the authority's file {} {why}", path.display());
    let pem = std::fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(wrong("holds no certificate in PEM")),
    }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let file = certificate.display();
    let chain =
        std::fs::read(certificate).map_err(|error| format!("the certificate {file} cannot be read: {error}"))?;
    let key = secret::from_file(key).map_err(|error| format!("the certificate's key: {error}"))?;
    let both = Zeroizing::new([key.expose(), b"\n", &chain].concat());
    Identity::from_pem(&both).map_err(|_| format!("{file} and its key are no certificate and key in PEM"))
}

fn plain(private: bool) -> Result<reqwest::Client, reqwest::Error> {
    builder(private).build().or_else(|error| {
        // A machine without any certificate authority can still reach sites over plain HTTP.
        tracing::warn!(%error, "no certificate authorities found on this machine: requests over https will fail");
        builder(private).tls_certs_only([]).build()
    })
}

fn builder(private: bool) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .dns_resolver(Arc::new(CheckedResolver { private }))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
}

/// Why the server's certificate is not trusted, if that is the trouble.
pub(super) fn distrusted(error: &reqwest::Error) -> Option<String> {
    match tls(error)? {
        rustls::Error::InvalidCertificate(why) => Some(format!("{why:?}")),
        _ => None,
    }
}

/// An error of TLS comes inside of one of the system's, or of two: their `source` skips what they hold.
fn tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut inner: &(dyn StdError + 'static) = cause::<std::io::Error>(error)?;
    while let Some(io) = inner.downcast_ref::<std::io::Error>() {
        inner = io.get_ref()?;
    }
    inner.downcast_ref::<rustls::Error>()
}

/// The name led where it must not.
pub(super) fn refused_name(error: &reqwest::Error) -> Option<&RefusedName> {
    cause::<RefusedName>(error)
}

/// The code that a guest sees, chosen so that SDKs can tell "down" from "refused" from "slow".
pub(super) fn translate(error: &reqwest::Error) -> Error {
    if refused_name(error).is_some() {
        return Error::DestinationIpProhibited;
    }
    if cause::<UnknownName>(error).is_some() {
        return Error::DnsError {
            rcode: Some("the name does not resolve".to_owned()),
            info_code: None,
        };
    }
    if error.is_connect() && error.is_timeout() {
        return Error::ConnectionTimeout;
    }
    if error.is_timeout() {
        return Error::HttpResponseTimeout;
    }
    match tls(error) {
        Some(rustls::Error::InvalidCertificate(_)) => return Error::TlsCertificateError,
        // It ends the handshake because of the host's own certificate, or the lack of one.
        Some(rustls::Error::AlertReceived(_)) => {
            return Error::TlsAlertReceived {
                alert_id: None,
                alert_message: Some("the server refused the connection".to_owned()),
            };
        }
        Some(_) if error.is_connect() => return Error::TlsProtocolError,
        Some(_) | None => {}
    }
    let io = cause::<std::io::Error>(error).map(std::io::Error::kind);
    match io {
        Some(std::io::ErrorKind::ConnectionRefused) => Error::ConnectionRefused,
        Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe) => Error::ConnectionTerminated,
        _ if error.is_connect() => Error::DestinationUnavailable,
        _ if error.is_request() => Error::ConnectionTerminated,
        _ => Error::HttpProtocolError,
    }
}

/// The first error of this type in the chain of causes.
fn cause<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref::<T>())
}
