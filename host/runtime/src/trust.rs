//! Whom to believe that a plugin is what its author made.
//!
//! With keys configured, a plugin directory needs `SHA256SUMS` (as `sha256sum` writes it) over the manifest and the
//! component, and `SHA256SUMS.minisig`, its signature by one of the keys. Both are kept with the version and checked
//! again whenever it is loaded, so a key that is taken out of the configuration is no longer believed.

use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

use crate::content::{Content, MANIFEST};
use crate::digest;
use crate::load::LoadError;

/// The list of checksums.
pub(crate) const SUMS: &str = "SHA256SUMS";

/// Its signature.
pub(crate) const SIGNATURE: &str = "SHA256SUMS.minisig";

/// Two checksums and a few comments.
pub(crate) const LARGEST: u64 = 64 << 10;

/// Public keys of those who may sign plugins. None: nothing needs a signature.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    keys: Vec<(String, PublicKey)>,
}

/// What came with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signed {
    pub(crate) sums: String,
    pub(crate) signature: String,
}

impl Trust {
    /// From the second lines of minisign's public key files (`RW...`). The error names the one that is none.
    pub fn new(keys: &[String]) -> Result<Self, String> {
        let key = |text: &String| {
            let key =
                PublicKey::from_base64(text).map_err(|error| format!("{text:?} is no minisign public key: {error}"))?;
            Ok((text.clone(), key))
        };
        let keys = keys.iter().map(key).collect::<Result<_, String>>()?;
        Ok(Self { keys })
    }

    /// The key that vouches for this version; none if no key is configured. `component` is its name in the manifest.
    pub(crate) fn check(&self, content: &Content, component: &str) -> Result<Option<String>, LoadError> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let Some(Signed { sums, signature }) = &content.signed else {
            return Err(LoadError::Unsigned);
        };
        let signature = Signature::decode(signature).map_err(|error| LoadError::Signature(error.to_string()))?;
        let verify = |(_, key): &&(String, PublicKey)| key.verify(sums.as_bytes(), &signature, true).is_ok();
        let Some((key, _)) = self.keys.iter().find(verify) else {
            let why = "it was not made by any of the configured keys, or not for these checksums";
            return Err(LoadError::Signature(why.to_owned()));
        };
        for (name, bytes) in [(MANIFEST, &content.manifest), (component, &content.component)] {
            let listed = listed(sums, name).ok_or_else(|| LoadError::NotListed(name.to_owned()))?;
            if !listed.eq_ignore_ascii_case(&digest::sha256(&[bytes])) {
                return Err(LoadError::Altered(name.to_owned()));
            }
        }
        Ok(Some(key.clone()))
    }
}

/// The checksum of a file in the list: `HEX  NAME`, or `HEX *NAME` as some write it.
fn listed<'s>(sums: &'s str, name: &str) -> Option<&'s str> {
    sums.lines().find_map(|line| {
        let (sum, file) = line.split_once(' ')?;
        let file = file.strip_prefix([' ', '*'])?;
        (file.strip_prefix("./").unwrap_or(file) == name).then_some(sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_list_are_read() {
        let sums = "aa  plugin.toml\nbb *./it.wasm\ncc  other\n";
        assert_eq!(
            (listed(sums, "plugin.toml"), listed(sums, "it.wasm")),
            (Some("aa"), Some("bb"))
        );
        assert_eq!(
            (listed(sums, "wasm"), listed("aa plugin.toml", "plugin.toml")),
            (None, None)
        );
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let error = Trust::new(&["RWnothing".to_owned()]).unwrap_err();
        assert!(error.contains("RWnothing"), "{error}");
    }
}
