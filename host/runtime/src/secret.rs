//! Secrets of the operator: where they are, and their values while a request is made.
//!
//! Only the place of a secret is ever kept. Its value is read anew for every use, so that changing the file is all that
//! a rotation takes, and it is wiped from memory after it. Nothing here can print or store a value: [`Secret`] has no
//! `Display`, no serde, and a `Debug` that says nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

/// Shorter ones occur in answers by chance, so they could not be kept out of them; nor are they secret for long.
pub(crate) const SHORTEST: usize = 4;

/// The largest key in use, a private key in PEM, is a tenth of this. What is larger is no secret but a mistake.
const LONGEST: u64 = 64 << 10;

/// A value that is wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// For the one place that uses it.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The `[secrets]` table: places by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secrets(BTreeMap<String, SecretPlace>);

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretPlace {
    /// The user that it belongs to, for `basic` authentication.
    #[serde(default)]
    user: Option<String>,
    /// A file that only the daemon's user can read.
    #[serde(default)]
    file: Option<PathBuf>,
    /// A variable of the daemon's environment.
    #[serde(default)]
    env: Option<String>,
}

/// A secret cannot be used. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The configuration has none of this name.
    #[error("there is none of this name under [secrets]")]
    Unknown,
    /// The file cannot be read.
    #[error("{path} cannot be read: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Others could read or replace it.
    #[error("{path} {what}; make it the daemon's own: chmod 600")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Who could.
        what: &'static str,
    },
    /// The variable is not set.
    #[error("the environment has no {0}")]
    NoVariable(String),
    /// It has another form than it should.
    #[error("{0}")]
    Unfit(String),
}

impl Secrets {
    /// Relative files become relative to this directory.
    pub fn rebase(&mut self, base: &Path) {
        for place in self.0.values_mut() {
            place.file = place.file.take().map(|file| base.join(file));
        }
    }

    /// Whether the table makes sense, without looking at any value.
    pub fn check(&self) -> Result<(), String> {
        for (name, place) in &self.0 {
            let wrong = |why: &str| Err(format!("the secret `{name}` {why}"));
            if !is_name(name) {
                return wrong(
                    "has a name that no placeholder can hold; use letters, digits, dots, dashes and underscores",
                );
            }
            if place.file.is_some() == place.env.is_some() {
                return wrong("needs either `file` or `env`");
            }
            let colon = |user: &String| user.contains(':') || user.chars().any(char::is_control);
            if place.user.as_ref().is_some_and(colon) {
                return wrong("has a user with a colon or a control character, which basic authentication cannot send");
            }
        }
        Ok(())
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is one of this name, and whether it has a user.
    pub(crate) fn has_user(&self, name: &str) -> Option<bool> {
        self.0.get(name).map(|place| place.user.is_some())
    }

    /// Whether it could be used now; the value is read and forgotten.
    pub fn try_read(&self, name: &str) -> Result<(), SecretError> {
        self.read(name).map(|_| ())
    }

    /// User and value as they are now.
    pub(crate) fn read(&self, name: &str) -> Result<(Option<String>, Secret), SecretError> {
        let place = self.0.get(name).ok_or(SecretError::Unknown)?;
        let value = match (&place.file, &place.env) {
            (Some(path), _) => from_file(path)?,
            (None, Some(variable)) => {
                let value = std::env::var_os(variable).map(OsString::into_vec);
                Secret::new(value.ok_or_else(|| SecretError::NoVariable(variable.clone()))?)
            }
            (None, None) => return Err(SecretError::Unknown),
        };
        let length = value.expose().len();
        if length < SHORTEST {
            return Err(SecretError::Unfit(format!(
                "it has {length} bytes, and {SHORTEST} are the fewest that can be kept secret"
            )));
        }
        Ok((place.user.clone(), value))
    }
}

/// What a placeholder can name.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Without the line break that editors put at the end.
pub(crate) fn from_file(path: &Path) -> Result<Secret, SecretError> {
    let failed = |error| SecretError::Read {
        path: path.to_owned(),
        error,
    };
    // A pipe in its place must not hold up a request.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(failed)?;
    check_owner(path, &file)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST).unwrap_or(0)));
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(SecretError::Unfit(format!("{} has more than 64 KiB", path.display())));
    }
    let mut value: &[u8] = &bytes;
    value = value.strip_suffix(b"\n").unwrap_or(value);
    value = value.strip_suffix(b"\r").unwrap_or(value);
    Ok(Secret::new(value.to_vec()))
}

/// The open file is looked at, not the path, which could lead elsewhere a moment later.
fn check_owner(path: &Path, file: &File) -> Result<(), SecretError> {
    let exposed = |what| SecretError::Exposed {
        path: path.to_owned(),
        what,
    };
    let about = file.metadata().map_err(|error| SecretError::Read {
        path: path.to_owned(),
        error,
    })?;
    let me = rustix::process::geteuid().as_raw();
    if !about.is_file() {
        Err(exposed("is no regular file"))
    } else if about.uid() != me && about.uid() != 0 {
        Err(exposed("belongs to another user"))
    } else if about.mode() & 0o077 != 0 {
        Err(exposed("can be read or written by others than its owner"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn table(toml: &str) -> Secrets {
        toml::from_str(toml).unwrap()
    }

    fn file(directory: &Path, content: &str, mode: u32) -> PathBuf {
        let path = directory.join(format!("secret-{mode:o}-{}", content.len()));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn read(path: &Path) -> Result<Secret, SecretError> {
        let mut secrets = table(&format!(
            "a = {{ file = {:?} }}",
            path.file_name().unwrap().to_str().unwrap()
        ));
        secrets.rebase(path.parent().unwrap());
        secrets.read("a").map(|(_, value)| value)
    }

    #[test]
    fn a_value_is_read_at_each_use_and_printed_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "old password\n", 0o600);
        assert_eq!(read(&path).unwrap().expose(), b"old password");
        std::fs::write(&path, "new password\r\n").unwrap();
        let value = read(&path).unwrap();
        assert_eq!(value.expose(), b"new password");
        assert_eq!(format!("{value:?}"), "Secret");
    }

    #[test]
    fn what_others_can_read_is_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o660, 0o644] {
            let error = read(&file(directory.path(), "password", mode)).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        assert!(read(&file(directory.path(), "password", 0o400)).is_ok());
        assert!(read(directory.path()).is_err(), "a directory");
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(read(&pipe).unwrap_err().to_string().contains("regular"));
        assert!(read(&directory.path().join("missing")).is_err());
        assert!(read(&file(directory.path(), "abc\n", 0o600)).is_err(), "too short");
        assert!(read(&file(directory.path(), &"x".repeat(70_000), 0o600)).is_err());
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        for bad in [
            r#"a = { user = "x" }"#,
            r#"a = { file = "x", env = "Y" }"#,
            r#"a = { file = "x", user = "a:b" }"#,
            r#""a}" = { file = "x" }"#,
            r#""" = { file = "x" }"#,
        ] {
            assert!(table(bad).check().is_err(), "{bad}");
        }
        assert!(
            toml::from_str::<Secrets>(r#"a = { value = "hunter2" }"#).is_err(),
            "no value stands in the file"
        );
        let good = table(r#"a = { env = "LANDFALL_NO_SUCH_VARIABLE", user = "svc" }"#);
        good.check().unwrap();
        assert!(matches!(good.read("a"), Err(SecretError::NoVariable(_))));
        assert!(matches!(good.read("b"), Err(SecretError::Unknown)));
    }
}
