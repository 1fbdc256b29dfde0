//! Signed statements about the journal, so that a record of the past can be checked by who does not trust this machine.
//!
//! A hash chain alone proves nothing to others: whoever can write the file can compute a new one. So the heads of the
//! chains are signed with the installation's key when a job ends, when its evidence is asked for, and once a day for
//! all that is open. Each seal names the one before it, so none can be left out. Signatures are minisign's, so that its
//! own tool verifies them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;

use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// What is signed: the heads of some jobs' chains at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Statement {
    /// The installation's id.
    pub installation: String,
    /// Its epoch.
    pub epoch: u64,
    /// Counts the seals.
    pub number: u64,
    /// SHA-256 of the seal before it; empty in the first.
    pub previous: String,
    /// Host time.
    pub at: u64,
    /// The newest number in the journal.
    pub last: u64,
    /// By job.
    pub jobs: BTreeMap<String, Head>,
}

/// How far a job's chain goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Head {
    /// Records of the job.
    pub records: u64,
    /// Hash of the last one, in hexadecimal.
    pub hash: String,
}

/// A statement as it was signed, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// JSON, of a [`Statement`] if it is about the journal.
    pub body: String,
    /// In minisign's format.
    pub signature: String,
}

impl Seal {
    /// What the next seal calls this one.
    pub fn hash(&self) -> String {
        hex(&Sha256::new()
            .chain_update(&self.body)
            .chain_update(&self.signature)
            .finalize())
    }

    /// The body, if the key (`RW...`) signed it.
    pub fn verified(&self, key: &str) -> Result<&str, String> {
        let key = PublicKey::from_base64(key).map_err(|error| format!("{key:?} is no public key: {error}"))?;
        let signature =
            SignatureBox::from_string(&self.signature).map_err(|error| format!("the signature is none: {error}"))?;
        minisign::verify(&key, &signature, Cursor::new(&self.body), true, false, false)
            .map_err(|_| "the signature is not by this key, or for other words".to_owned())?;
        Ok(&self.body)
    }

    /// The statement, if the key signed it.
    pub fn open(&self, key: &str) -> Result<Statement, String> {
        serde_json::from_str(self.verified(key)?).map_err(|error| format!("the statement cannot be read: {error}"))
    }
}

/// The installation's pair of keys.
pub(crate) struct Key {
    public: PublicKey,
    secret: SecretKey,
}

impl Key {
    /// A new one, as text to be kept.
    pub(crate) fn generate() -> Result<String, StoreError> {
        let pair = KeyPair::generate_unencrypted_keypair().map_err(|error| StoreError::Key(error.to_string()))?;
        let secret = pair
            .sk
            .to_box(Some("key of a Landfall installation"))
            .map_err(|error| StoreError::Key(error.to_string()))?;
        Ok(secret.into_string())
    }

    pub(crate) fn read(text: &str) -> Result<Self, StoreError> {
        let secret = SecretKeyBox::from_string(text).and_then(SecretKeyBox::into_unencrypted_secret_key);
        let secret = secret.map_err(|error| StoreError::Key(error.to_string()))?;
        let public = PublicKey::from_secret_key(&secret).map_err(|error| StoreError::Key(error.to_string()))?;
        Ok(Self { public, secret })
    }

    /// In one line (`RW...`).
    pub(crate) fn public(&self) -> String {
        self.public.to_base64()
    }

    /// What is signed says by its form what it is: a body that is read as one statement is none of another kind.
    pub(crate) fn sign(&self, body: String, comment: &str) -> Result<Seal, StoreError> {
        let signature = minisign::sign(Some(&self.public), &self.secret, body.as_bytes(), Some(comment), None)
            .map_err(|error| StoreError::Key(error.to_string()))?;
        Ok(Seal {
            body,
            signature: signature.into_string(),
        })
    }

    /// A statement about the journal.
    pub(crate) fn seal(&self, statement: &Statement) -> Result<Seal, StoreError> {
        let body = serde_json::to_string(statement).map_err(|source| StoreError::Value("seals", source))?;
        let comment = format!("seal {} of installation {}", statement.number, statement.installation);
        self.sign(body, &comment)
    }
}

/// Nothing of it is for a log.
impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x06_a_seal_is_believed_only_as_it_was_signed() {
        let key = Key::read(&Key::generate().unwrap()).unwrap();
        let statement = Statement {
            installation: "i".into(),
            epoch: 1,
            number: 1,
            previous: String::new(),
            at: 5,
            last: 7,
            jobs: BTreeMap::from([(
                "j".into(),
                Head {
                    records: 3,
                    hash: "00".into(),
                },
            )]),
        };
        let seal = key.seal(&statement).unwrap();
        assert_eq!(seal.open(&key.public()).unwrap(), statement);
        let other = Key::read(&Key::generate().unwrap()).unwrap();
        assert!(seal.open(&other.public()).is_err());
        let mut forged = seal.clone();
        forged.body = forged.body.replace("\"records\":3", "\"records\":2");
        assert!(forged.open(&key.public()).is_err());
        assert!(seal.open("nonsense").is_err());
        let other = key.sign("{\"report\":\"\"}".to_owned(), "of something else").unwrap();
        assert!(other.verified(&key.public()).is_ok() && other.open(&key.public()).is_err());
    }
}
