//! The SDKs that the program carries, laid out where a tool can read them.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Every file below `sdk/` of the repository, by its path there.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The files below a directory of the SDKs, by their paths below it.
pub(crate) fn below(prefix: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    FILES
        .iter()
        .filter_map(move |(path, bytes)| Some((path.strip_prefix(prefix)?.strip_prefix('/')?, *bytes)))
}

/// One file.
pub(crate) fn file(path: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
}

/// Writes those files into a directory.
pub(crate) fn lay_out(prefix: &str, directory: &Path) -> io::Result<()> {
    below(prefix).try_for_each(|(path, bytes)| write(&directory.join(path), bytes))
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    fs::write(path, bytes)
}

/// Tells one content from another: the first twelve hexadecimal digits of a SHA-256 over names and bytes.
pub(crate) fn fingerprint<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut digest = Sha256::new();
    for (name, bytes) in files {
        // Lengths keep two neighbours from trading bytes.
        digest.update(format!("{name}\0{}\0", bytes.len()));
        digest.update(bytes);
    }
    let digest = digest.finalize();
    digest
        .iter()
        .take(6)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_carries_every_sdk() {
        for path in [
            "rust/Cargo.toml",
            "python/landfall/__init__.py",
            "js/landfall/index.js",
            "js/tools/build.mjs",
        ] {
            assert!(file(path).is_some(), "{path}");
        }
        assert!(below("python").all(|(path, _)| !path.contains("__pycache__")));
    }

    #[test]
    fn a_fingerprint_tells_names_from_bytes() {
        let of = |name: &'static str, bytes: &'static [u8]| fingerprint([(name, bytes)].into_iter());
        assert_ne!(of("ab", b"c"), of("a", b"bc"));
        assert_eq!(of("a", b"b").len(), 12);
    }
}
