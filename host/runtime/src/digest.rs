//! SHA-256 in the one spelling that appears in journals, logs and file names.

use sha2::{Digest, Sha256};

/// 64 lower case hex digits.
pub(crate) fn sha256(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What a job pins: component and manifest together, since the manifest bounds what the component may do. Both are
/// hashed first, so that no byte can wander from one to the other.
pub(crate) fn of_plugin(manifest: &[u8], component: &[u8]) -> String {
    of_parts(manifest, component).0
}

/// As [`of_plugin`], with the component's own digest, which is the costly part of it.
pub(crate) fn of_parts(manifest: &[u8], component: &[u8]) -> (String, String) {
    let component = Sha256::digest(component);
    let plugin = sha256(&[&Sha256::digest(manifest), &component]);
    (format!("sha256:{plugin}"), hex(&component))
}

/// The hex digits of a plugin's digest, if it is one. They become a file name.
pub(crate) fn digits(digest: &str) -> Option<&str> {
    let digits = digest.strip_prefix("sha256:")?;
    let plain = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    plain.then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_and_component_do_not_run_together() {
        assert_ne!(of_plugin(b"ab", b"c"), of_plugin(b"a", b"bc"));
        assert!(digits(&of_plugin(b"", b"")).is_some());
        assert_eq!(digits("sha256:../../etc/passwd"), None);
    }
}
