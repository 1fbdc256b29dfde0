//! Connections in a case: what the plugin has to say on each, what the far side says, and when.
//!
//! A far side never does anything by itself. It takes what it is sent, compares it with the turn of its talk that it is
//! at, and lays out what it has to say, each piece with the moment from which it is there.

use landfall_runtime::{StageDial, StageFault};

use super::talk::{Deaf, Given, Made, place};
use super::{is_used_up, never, seen};
use crate::case::{ConnectFault, Connection, Times};

/// The connections of a case.
#[derive(Debug, Default, Clone)]
pub(super) struct Talks {
    /// With how often each was opened.
    scripts: Vec<(Connection, u32)>,
    /// By their number.
    made: Vec<Made>,
    noted: Vec<Noted>,
}

/// What happened, for the report.
#[derive(Debug, Clone)]
enum Noted {
    Opened(String),
    /// Words and why not.
    Failed(String, &'static str),
    Said {
        number: usize,
        endpoint: String,
        by_plugin: bool,
        bytes: Vec<u8>,
    },
}

impl Talks {
    pub(super) fn add(&mut self, connections: &[Connection]) {
        self.scripts
            .extend(connections.iter().cloned().map(|connection| (connection, 0)));
    }

    /// The number of a new connection, or why there is none; the outer error is one that nobody wrote.
    pub(super) fn dial(&mut self, wanted: &StageDial, now: u64) -> Result<Result<usize, StageFault>, String> {
        let found = self
            .scripts
            .iter_mut()
            .find(|(script, used)| !is_used_up(script.times, *used) && misfit(script, wanted).is_none());
        let Some((script, used)) = found else {
            self.noted.push(Noted::Failed(words(wanted), "refused"));
            return Err(stranger(wanted, &self.scripts));
        };
        *used += 1;
        let fault = match script.fault {
            None => None,
            Some(ConnectFault::Refused) => Some((StageFault::Refused, "refused")),
            Some(ConnectFault::Timeout) => Some((StageFault::Timeout, "timeout")),
            Some(ConnectFault::Tls) => Some((StageFault::Tls, "certificate refused")),
        };
        if let Some((fault, why)) = fault {
            self.noted.push(Noted::Failed(words(wanted), why));
            return Ok(Err(fault));
        }
        self.made.push(Made::new(script.clone(), now));
        self.noted.push(Noted::Opened(words(wanted)));
        Ok(Ok(self.made.len() - 1))
    }

    pub(super) fn hear(&mut self, number: usize, bytes: &[u8], now: u64) -> Result<(), Deaf> {
        let Some(made) = self.made.get_mut(number) else {
            return Err(Deaf::Broken);
        };
        let endpoint = made.script.endpoint.clone();
        let heard = made.hear(bytes, now);
        self.note(number, endpoint, true, bytes);
        heard
    }

    pub(super) fn give(&mut self, number: usize, most: usize, now: u64) -> Given {
        let Some(made) = self.made.get_mut(number) else {
            return Given::Broken;
        };
        let endpoint = made.script.endpoint.clone();
        let given = made.give(most, now);
        if let Given::Bytes(bytes) = &given {
            let bytes = bytes.clone();
            self.note(number, endpoint, false, &bytes);
        }
        given
    }

    fn note(&mut self, number: usize, endpoint: String, by_plugin: bool, bytes: &[u8]) {
        if let Some(Noted::Said {
            number: last,
            by_plugin: whose,
            bytes: said,
            ..
        }) = self.noted.last_mut()
            && (*last, *whose) == (number, by_plugin)
        {
            said.extend(bytes);
            return;
        }
        self.noted.push(Noted::Said {
            number,
            endpoint,
            by_plugin,
            bytes: bytes.to_vec(),
        });
    }

    /// What happened since this was last called, in words, and how many connections were opened or tried.
    pub(super) fn take_noted(&mut self) -> (Vec<String>, usize) {
        let noted = std::mem::take(&mut self.noted);
        let tried = noted
            .iter()
            .filter(|noted| !matches!(noted, Noted::Said { .. }))
            .count();
        let words = |noted| match noted {
            Noted::Opened(place) => format!("{place}: opened"),
            Noted::Failed(place, why) => format!("{place}: {why}"),
            Noted::Said {
                endpoint,
                by_plugin,
                bytes,
                ..
            } => format!(
                "{endpoint}: {} {}",
                if by_plugin { "sent" } else { "got" },
                seen(&bytes)
            ),
        };
        (noted.into_iter().map(words).collect(), tried)
    }

    /// Where the plugin waits for more than was written, since this was last called.
    pub(super) fn take_waits(&mut self) -> Vec<String> {
        let waits = self.made.iter_mut().filter_map(|made| {
            std::mem::replace(&mut made.is_waiting, false).then(|| {
                let place = format!("the plugin waits for `{}` to say something", made.script.endpoint);
                match made.awaited() {
                    Some(awaited) => format!("{place}, and the talk goes on with {awaited}"),
                    None => format!("{place}, and the talk is over; `then = \"silence\"` would say that this is meant"),
                }
            })
        });
        waits.collect()
    }

    /// Connections that were not opened, and talks that stopped half way.
    pub(super) fn left(&self) -> impl Iterator<Item = String> {
        let unopened = self
            .scripts
            .iter()
            .filter_map(|(script, used)| never(&script.place(), script.times, *used, "opened"));
        let stopped = self.made.iter().filter_map(|made| {
            let counts = matches!(made.script.times, Times::Exactly(_)) && !made.is_lost;
            let awaited = made.awaited().filter(|_| counts)?;
            Some(format!("{}: the talk stopped before {awaited}", made.script.place()))
        });
        unopened.chain(stopped)
    }
}

/// Why this script is not about that connection; none if it is.
fn misfit(script: &Connection, wanted: &StageDial) -> Option<String> {
    if script.endpoint != wanted.endpoint {
        return Some(format!("the endpoint is `{}`", wanted.endpoint));
    }
    if script.port.is_some() && script.port != wanted.port {
        let port = wanted.port.map_or_else(|| "none".to_owned(), |port| port.to_string());
        return Some(format!("the port is {port}"));
    }
    let tag = script.tag.as_ref().filter(|tag| **tag != wanted.tag);
    tag.map(|_| format!("the tag is `{}`", wanted.tag))
}

fn stranger(wanted: &StageDial, scripts: &[(Connection, u32)]) -> String {
    let mut text = format!("{} was opened, and no [[transport]] that is left fits", words(wanted));
    let same = |script: &Connection| script.endpoint == wanted.endpoint;
    let near = scripts.iter().find(|(script, _)| same(script)).or(scripts.first());
    if let Some((script, used)) = near {
        let why = match misfit(script, wanted) {
            Some(why) => why,
            None if is_used_up(script.times, *used) => "is used up".to_owned(),
            None => String::new(),
        };
        text = format!("{text}; nearest is {}: {why}", script.place());
    }
    text
}

fn words(wanted: &StageDial) -> String {
    let tag = Some(wanted.tag.as_str()).filter(|tag| !tag.is_empty());
    place(&wanted.endpoint, None, tag)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn talks(toml: &str) -> Talks {
        #[derive(serde::Deserialize)]
        struct All {
            transport: Vec<Connection>,
        }
        let mut talks = Talks::default();
        talks.add(&toml::from_str::<All>(toml).unwrap().transport);
        talks
    }

    fn dial(tag: &str) -> StageDial {
        StageDial {
            endpoint: "m".to_owned(),
            port: Some(7),
            tag: tag.to_owned(),
        }
    }

    fn bytes(text: &'static str) -> Given {
        Given::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_talk_goes_turn_by_turn_however_its_bytes_come() {
        let mut talks = talks(
            r#"
            [[transport]]
            endpoint = "m"
            talk = [
                { reply = "hi\n", chunk = 2 },
                { sends = "login\n", reply = "ok\n", takes-ms = 50 },
                { sends-until = "\n", contains = ["key-1"] },
                { sends-bytes = 4, reply = { hex = "00 01" } },
                { reply = "bye", takes-ms = 10, then = "close" },
            ]"#,
        );
        assert_eq!(talks.dial(&dial(""), 100).unwrap(), Ok(0));
        assert_eq!(talks.give(0, 9, 100), bytes("hi"));
        assert_eq!(talks.give(0, 9, 100), bytes("\n"));
        assert_eq!(talks.give(0, 9, 100), Given::Nothing);
        for part in ["lo", "gin\nput key", "-1\na"] {
            talks.hear(0, part.as_bytes(), 100).unwrap();
        }
        assert_eq!(talks.give(0, 9, 100), Given::Later(150));
        assert_eq!(talks.give(0, 1, 150), bytes("o"));
        assert_eq!(talks.give(0, 9, 150), bytes("k\n"));
        assert_eq!(talks.left().count(), 1, "three bytes are missing");
        talks.hear(0, b"bcd", 200).unwrap();
        assert_eq!(talks.give(0, 9, 200), Given::Bytes(Bytes::from_static(b"\0\x01")));
        assert_eq!(talks.give(0, 9, 200), Given::Later(210));
        assert_eq!(
            (talks.give(0, 9, 210), talks.give(0, 9, 210)),
            (bytes("bye"), Given::Closed)
        );
        assert_eq!(talks.hear(0, b"x", 210), Err(Deaf::Closed));
        assert_eq!((talks.left().count(), talks.take_waits().len()), (0, 0));
        let (noted, tried) = talks.take_noted();
        assert_eq!(tried, 1);
        let wanted = [
            "the connection to `m`: opened",
            "m: got \"hi\\n\"",
            "m: sent \"login\\nput key-1\\na\"",
            "m: got \"ok\\n\"",
            "m: sent \"bcd\"",
            "m: got { hex = \"00 01 62 79 65\" }",
            "m: sent \"x\"",
        ];
        assert_eq!(noted, wanted);
    }

    #[test]
    fn what_is_not_in_the_talk_is_told_with_its_place() {
        let script = r#"
            [[transport]]
            endpoint = "m"
            tag = "t"
            talk = [{ sends = "get 1\n" }, { sends-until = "\n", contains = ["key"] }]
            [[transport]]
            endpoint = "n"
            times = "any""#;
        let said = |parts: &[&str]| {
            let mut talks = talks(script);
            let number = talks.dial(&dial("t"), 0).unwrap().unwrap();
            let mut last = Ok(());
            for part in parts {
                last = talks.hear(number, part.as_bytes(), 0);
            }
            (last, talks)
        };
        let why = |parts: &[&str]| match said(parts).0 {
            Err(Deaf::Stranger(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(
            why(&["get", " 2\n"])
                .contains("turn 1: the plugin sent \"get 2\\n\", and \"get 1\\n\" is expected; byte 4")
        );
        assert!(why(&["get 1\nput\n"]).contains("turn 2") && why(&["get 1\nput\n"]).contains("does not hold \"key\""));
        assert!(why(&["get 1\n", "key\n", "more"]).contains("sent \"more\", and the talk is over"));
        // It is told once: a lost talk is not one that stopped.
        let (_, mut lost) = said(&["x"]);
        assert_eq!((lost.left().count(), lost.hear(0, b"y", 0)), (0, Err(Deaf::Broken)));
        assert_eq!(lost.give(0, 9, 0), Given::Broken);

        let (_, mut talks) = said(&["get"]);
        let left: Vec<String> = talks.left().collect();
        assert!(
            left[0].contains("the rest of the plugin's turn 1, \"get 1\\n\", after \"get\""),
            "{left:?}"
        );
        assert_eq!(talks.give(0, 9, 0), Given::Nothing);
        assert!(talks.take_waits()[0].contains("the talk goes on with the rest of the plugin's turn 1"));
        let again = talks.dial(&dial("t"), 0).unwrap_err();
        assert!(again.contains("tag `t`: is used up"), "{again}");
        let other = talks.dial(&dial("u"), 0).unwrap_err();
        assert!(other.contains("the tag is `u`"), "{other}");
    }
}
