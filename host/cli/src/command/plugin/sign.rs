//! Signatures in minisign's format: a pair of keys, and a plugin directory signed with one. The `minisign` tool verifies
//! what is made here, and what it makes is accepted by the daemon.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::command::Context;
use crate::failure::Failure;

/// As the daemon looks for them.
const SUMS: &str = "SHA256SUMS";
const SIGNATURE: &str = "SHA256SUMS.minisig";

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where the secret key goes; the public one goes beside it, with `.pub` at the end of its name
    #[arg(long, value_name = "FILE", default_value = "landfall.key")]
    key: PathBuf,
    /// Do not protect the secret key with a password: for machines that sign
    #[arg(long)]
    no_password: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The plugin's directory, with `plugin.toml` and the component
    directory: PathBuf,
    /// The secret key
    #[arg(long, value_name = "FILE", default_value = "landfall.key")]
    key: PathBuf,
}

/// What was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Keys {
    secret: PathBuf,
    public: PathBuf,
    key: String,
}

/// What was signed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Signed {
    files: Vec<String>,
    key: String,
}

impl Keygen {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let pair = if self.no_password {
            KeyPair::generate_unencrypted_keypair()
        } else {
            KeyPair::generate_encrypted_keypair(Some(password("Password for the new key: ")?))
        };
        let pair = pair.map_err(refused)?;
        let secret = pair.sk.to_box(Some("landfall secret key")).map_err(refused)?;
        let public = with_ending(&self.key, ".pub");
        create(&self.key, &secret.into_string(), 0o600)?;
        create(&public, &pair.pk.to_box().map_err(refused)?.into_string(), 0o644)?;
        let keys = Keys {
            secret: self.key,
            public,
            key: pair.pk.to_base64(),
        };
        let words = || {
            let Keys { secret, public, key } = &keys;
            format!(
                "secret key  {}\npublic key  {}\n\nfor the daemon's configuration:\n\n[trust]\nkeys = [\"{key}\"]\n",
                secret.display(),
                public.display()
            )
        };
        Ok(context.out.one(&keys, words)?)
    }
}

impl Sign {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let manifest = read(&self.directory.join("plugin.toml"))?;
        let text = String::from_utf8_lossy(&manifest);
        let table: toml::Table = text
            .parse()
            .map_err(|error| Failure::Usage(format!("plugin.toml: {error}")))?;
        let component = table.get("plugin").and_then(|plugin| plugin.get("component")?.as_str());
        let component = component.ok_or_else(|| Failure::Usage("plugin.toml names no plugin.component".to_owned()))?;
        let component_bytes = read(&self.directory.join(component))?;
        let files = [
            ("plugin.toml", manifest.as_slice()),
            (component, component_bytes.as_slice()),
        ];
        let lines = files.map(|(name, bytes)| format!("{}  {name}\n", hex(&Sha256::digest(bytes))));
        let sums = lines.concat();
        let secret = secret(&self.key)?;
        let public = PublicKey::from_secret_key(&secret).map_err(refused)?;
        let comment = format!(
            "plugin {}",
            table
                .get("plugin")
                .and_then(|plugin| plugin.get("name")?.as_str())
                .unwrap_or("")
        );
        let signature =
            minisign::sign(Some(&public), &secret, sums.as_bytes(), Some(&comment), None).map_err(refused)?;
        replace(&self.directory.join(SUMS), &sums)?;
        replace(&self.directory.join(SIGNATURE), &signature.into_string())?;
        let signed = Signed {
            files: files.map(|(name, _)| name.to_owned()).to_vec(),
            key: public.to_base64(),
        };
        let words = || format!("signed {} with {}\n", signed.files.join(" and "), signed.key);
        Ok(context.out.one(&signed, words)?)
    }
}

/// A key without a password as it is; else the password is asked for, or taken from `LANDFALL_KEY_PASSWORD`.
fn secret(path: &Path) -> Result<SecretKey, Failure> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let boxed = || SecretKeyBox::from_string(&text).map_err(refused);
    if let Ok(key) = boxed()?.into_unencrypted_secret_key() {
        return Ok(key);
    }
    boxed()?
        .into_secret_key(Some(password("Password of the key: ")?))
        .map_err(refused)
}

fn password(prompt: &str) -> Result<String, Failure> {
    if let Ok(given) = std::env::var("LANDFALL_KEY_PASSWORD") {
        return Ok(given);
    }
    rpassword::prompt_password(prompt)
        .map_err(|source| Failure::Usage(format!("the password cannot be read: {source}")))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn refused(error: minisign::PError) -> Failure {
    Failure::Usage(error.to_string())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| failed("read", path, source))
}

/// A key that is there already is not overwritten.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| failed("write", path, source))
}

/// Renamed into place: a daemon may be watching.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let new = with_ending(path, ".new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| failed("write", path, source))
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> Failure {
    Failure::File {
        action,
        path: path.to_owned(),
        source,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
