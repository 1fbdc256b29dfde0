//! `signing`: HMAC with keys that never enter a plugin. The key is read at each use, as every secret is.

use std::sync::Arc;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use crate::bindings::landfall::plugin::signing::{Hash, Host};
use crate::contract::types::Failure;
use crate::grants::{Denial, Effective, Interface, Remedy};
use crate::runtime::Shared;
use crate::secret::Secret;
use crate::stage::Stage;
use crate::state::GuestState;

impl Host for GuestState {
    async fn hmac(
        &mut self,
        key: String,
        hash: Hash,
        messages: Vec<Vec<u8>>,
    ) -> wasmtime::Result<Result<Vec<u8>, Failure>> {
        self.subject.expect(Interface::Signing)?;
        if messages.is_empty() {
            return Ok(Err(failure("invalid", "hmac needs at least one message".to_owned())));
        }
        let (effective, shared) = (Arc::clone(&self.gate.effective), Arc::clone(&self.gate.shared));
        let stage = self.subject.stage.clone();
        Ok(match value(&effective, &shared, stage.as_deref(), &key).await {
            Ok(key) => Ok(chain(hash, &key, &messages)),
            Err(denial) => {
                let failure = failure(denial.code(), denial.to_string());
                self.record.deny(denial);
                Err(failure)
            }
        })
    }
}

/// The value of a key, if it is granted.
async fn value(effective: &Effective, shared: &Shared, stage: Option<&Stage>, name: &str) -> Result<Secret, Denial> {
    effective.check_key(name)?;
    let unusable = |why: String| Denial {
        what: format!("the secret `{name}`"),
        remedy: Remedy::Secret(why),
    };
    if let Some(staged) = stage.and_then(|stage| stage.secret(name)) {
        return staged.map_err(|error| unusable(error.to_string()));
    }
    let (secrets, wanted) = (shared.secrets.load_full(), name.to_owned());
    let read = tokio::task::spawn_blocking(move || secrets.read(&wanted)).await;
    let read = read.map_err(|error| unusable(error.to_string()))?;
    read.map(|(_, value)| value)
        .map_err(|error| unusable(error.to_string()))
}

/// Nothing was done, and nothing changes by trying again.
fn failure(code: &str, message: String) -> Failure {
    Failure {
        code: code.to_owned(),
        message,
        retryable: false,
        definite: true,
        details: Vec::new(),
    }
}

/// Each result is the next one's key.
fn chain(hash: Hash, key: &Secret, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut key = Zeroizing::new(key.expose().to_vec());
    for message in messages {
        key = Zeroizing::new(match hash {
            Hash::Sha1 => sign::<Hmac<Sha1>>(&key, message),
            Hash::Sha256 => sign::<Hmac<Sha256>>(&key, message),
            Hash::Sha512 => sign::<Hmac<Sha512>>(&key, message),
        });
    }
    key.to_vec()
}

/// HMAC takes keys of every length, so there is always a result.
fn sign<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let signed = <M as KeyInit>::new_from_slice(key).map(|mac| mac.chain_update(message).finalize());
    signed.map(|signed| signed.into_bytes().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |all, byte| format!("{all}{byte:02x}"))
    }

    fn signed(hash: Hash, key: &str, messages: &[&str]) -> String {
        let messages: Vec<_> = messages.iter().map(|message| message.as_bytes().to_vec()).collect();
        hex(&chain(hash, &Secret::new(key.into()), &messages))
    }

    /// RFC 2202 and RFC 4231, test case 2.
    #[test]
    fn each_hash_gives_what_its_standard_says() {
        let message = "what do ya want for nothing?";
        assert_eq!(
            signed(Hash::Sha1, "Jefe", &[message]),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        assert_eq!(
            signed(Hash::Sha256, "Jefe", &[message]),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(
            signed(Hash::Sha512, "Jefe", &[message]).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd6")
        );
    }

    /// The derived key of the example in Amazon's documentation of Signature Version 4.
    #[test]
    fn a_chain_derives_a_key() {
        let key = "AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        assert_eq!(
            signed(Hash::Sha256, key, &["20120215", "us-east-1", "iam", "aws4_request"]),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }
}
