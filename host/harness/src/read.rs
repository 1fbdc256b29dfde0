//! Finds and reads the case files of a plugin.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::case::Case;

/// A case cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The file or directory.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no TOML, has an unknown key, or a value of the wrong type.
    #[error("{name}: {why}")]
    Invalid {
        /// The file, or what was handed over.
        name: String,
        /// With line and column.
        why: String,
    },
}

impl CaseError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "LF0485",
            Self::Invalid { .. } => "LF0486",
        }
    }
}

/// The case files in this directory, in order of their names; none if there is no such directory.
pub fn find(directory: &Path) -> Result<Vec<PathBuf>, CaseError> {
    let failed = |source| CaseError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|ending| ending == "toml") && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// One file.
pub fn read(path: &Path) -> Result<Case, CaseError> {
    let text = fs::read_to_string(path).map_err(|source| CaseError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse_toml(&path.display().to_string(), &text)
}

/// A case as TOML.
pub fn parse_toml(name: &str, text: &str) -> Result<Case, CaseError> {
    let case = toml::from_str(text).map_err(|error| invalid(name, &error.to_string()))?;
    sound(name, case)
}

/// A case as JSON.
pub fn parse_json(name: &str, text: &str) -> Result<Case, CaseError> {
    let case = serde_json::from_str(text).map_err(|error| invalid(name, &error.to_string()))?;
    sound(name, case)
}

/// What no type can say.
fn sound(name: &str, case: Case) -> Result<Case, CaseError> {
    for exchange in case.acts().iter().flat_map(|act| &act.http) {
        if exchange.url.is_empty() {
            return Err(invalid(name, "an [[http]] has no `url`"));
        }
        if exchange.reply.is_some() && exchange.fault.is_some() {
            return Err(invalid(
                name,
                &format!("{}: has `reply` and `fault`; keep one", exchange.url),
            ));
        }
        let bodies = exchange.reply.as_ref().map(|reply| (&reply.body, &reply.json));
        if let Some((Some(_), Some(_))) = bodies {
            return Err(invalid(
                name,
                &format!("{}: the reply has `body` and `json`; keep one", exchange.url),
            ));
        }
    }
    Ok(case)
}

fn invalid(name: &str, why: &str) -> CaseError {
    CaseError::Invalid {
        name: name.to_owned(),
        why: why.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_with_their_line() {
        let why = |text: &str| parse_toml("t.toml", text).unwrap_err().to_string();
        let unknown = why("about = \"x\"\n[expect]\noutcom = \"done\"\n");
        assert!(
            unknown.contains("t.toml: ") && unknown.contains("line 3") && unknown.contains("outcom"),
            "{unknown}"
        );
        assert!(why("[[http]]\nurl = \"http://h/\"\nfault = \"refused\"\nreply = {}\n").contains("keep one"));
        assert!(why("[[http]]\nmethod = \"GET\"\n").contains("no `url`"));
        assert!(why("[expect]\noutcome = \"maybe\"\n").contains("maybe"));
    }
}
