//! Finds and reads the case files of a plugin.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::case::{Case, Connection, Data, Exchange, Run};

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
    for act in case.acts() {
        let http = act.http.iter().try_for_each(exchange);
        let transport = || act.transport.iter().try_for_each(connection);
        let guests = || act.guests.iter().try_for_each(program);
        http.and_then(|()| transport())
            .and_then(|()| guests())
            .map_err(|why| invalid(name, &why))?;
    }
    Ok(case)
}

fn exchange(exchange: &Exchange) -> Result<(), String> {
    let url = &exchange.url;
    if url.is_empty() {
        return Err("an [[http]] has no `url`".to_owned());
    }
    if exchange.reply.is_some() && exchange.fault.is_some() {
        return Err(format!("{url}: has `reply` and `fault`; keep one"));
    }
    let bodies = exchange.reply.as_ref().map(|reply| (&reply.body, &reply.json));
    if let Some((Some(_), Some(_))) = bodies {
        return Err(format!("{url}: the reply has `body` and `json`; keep one"));
    }
    Ok(())
}

fn connection(connection: &Connection) -> Result<(), String> {
    let endpoint = &connection.endpoint;
    if endpoint.is_empty() {
        return Err("a [[transport]] has no `endpoint`".to_owned());
    }
    if connection.fault.is_some() && !connection.talk.is_empty() {
        return Err(format!("`{endpoint}`: has `talk` and `fault`; keep one"));
    }
    for (number, turn) in connection.talk.iter().enumerate() {
        let place = format!("`{endpoint}`, turn {}", number + 1);
        let parts = [
            turn.sends.is_some(),
            turn.sends_bytes.is_some(),
            turn.sends_until.is_some(),
        ];
        let parts = parts.into_iter().filter(|there| *there).count();
        let has_nothing = parts == 0 && turn.reply.is_none() && turn.then.is_none();
        let is_last = number + 1 == connection.talk.len();
        let empty = |data: &Option<Data>| data.as_ref().is_some_and(|data| data.0.is_empty());
        let why = match turn {
            _ if parts > 1 => "has more than one of `sends`, `sends-bytes` and `sends-until`; keep one",
            _ if has_nothing => "says nothing: it has none of `sends`, `sends-bytes`, `sends-until`, `reply`, `then`",
            turn if empty(&turn.sends) || empty(&turn.sends_until) || turn.sends_bytes == Some(0) => {
                "waits for nothing: leave out what the plugin does not send"
            }
            turn if !turn.contains.is_empty() && (turn.sends.is_some() || parts == 0) => {
                "has `contains`, which belongs to `sends-bytes` or `sends-until`"
            }
            turn if turn.then.is_some() && !is_last => "ends the talk, and is not the last",
            _ => continue,
        };
        return Err(format!("{place}: {why}"));
    }
    Ok(())
}

fn program(run: &Run) -> Result<(), String> {
    let name = &run.program;
    if name.is_empty() {
        return Err("a [[guests]] has no `program`".to_owned());
    }
    if run.exit.is_some() && run.fault.is_some() {
        return Err(format!("`{name}`: has `exit` and `fault`; keep one"));
    }
    Ok(())
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
    fn the_cases_in_the_documentation_are_valid() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/plugins.md");
        let text = fs::read_to_string(file).unwrap();
        let blocks = text
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let is_case = |block: &&str| {
            ["[[http]]", "[[transport]]", "[[guests]]"]
                .iter()
                .any(|key| block.contains(key))
        };
        let cases: Vec<&str> = blocks.filter(is_case).collect();
        assert_eq!(cases.len(), 3);
        for case in cases {
            parse_toml("docs/plugins.md", case).unwrap();
        }
    }

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
        let talk = |turns: &str| why(&format!("[[transport]]\nendpoint = \"e\"\ntalk = [{turns}]\n"));
        for (turns, words) in [
            ("{ sends = \"a\", sends-bytes = 1 }", "`e`, turn 1: has more than one"),
            ("{ takes-ms = 1 }", "says nothing"),
            ("{ sends = \"\", reply = \"x\" }", "waits for nothing"),
            ("{ sends = \"a\", contains = [\"b\"] }", "belongs to `sends-bytes`"),
            ("{ then = \"close\" }, { reply = \"x\" }", "turn 1: ends the talk"),
            ("{ sends = 7 }", "line 3"),
        ] {
            assert!(talk(turns).contains(words), "{turns}: {}", talk(turns));
        }
        assert!(why("[[transport]]\n").contains("no `endpoint`"));
        assert!(why("[[guests]]\n").contains("no `program`"));
        assert!(why("[[guests]]\nprogram = \"p\"\nexit = {}\nfault = {}\n").contains("keep one"));
    }
}
