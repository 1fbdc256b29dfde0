//! Connections in a case: what the plugin has to say on each, what the far side says, and when.
//!
//! A far side never does anything by itself. It takes what it is sent, compares it with the turn of its talk that it is
//! at, and lays out what it has to say, each piece with the moment from which it is there.

use std::collections::VecDeque;

use bytes::Bytes;
use landfall_runtime::{StageDial, StageFault};

use super::{is_used_up, never, seen};
use crate::case::{ConnectFault, Connection, Data, Then, Times, Turn};

/// The connections of a case.
#[derive(Debug, Default, Clone)]
pub(super) struct Talks {
    /// With how often each was opened.
    scripts: Vec<(Connection, u32)>,
    /// By their number.
    made: Vec<Made>,
    noted: Vec<Noted>,
}

/// A connection that was opened.
#[derive(Debug, Clone)]
struct Made {
    script: Connection,
    /// The turn in which the plugin has the word.
    turn: usize,
    /// What the plugin said of it so far.
    heard: Vec<u8>,
    /// What the plugin has not read yet, with the moment from which it is there.
    pieces: VecDeque<(u64, Piece)>,
    is_silent: bool,
    /// The plugin said something else than it should have.
    is_lost: bool,
    /// The plugin looked for more, and there will be none.
    is_waiting: bool,
}

#[derive(Debug, Clone)]
enum Piece {
    Says(Bytes),
    Closes,
    Breaks,
}

/// What there is to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    Bytes(Bytes),
    /// From this moment on there is something.
    Later(u64),
    Nothing,
    Closed,
    Broken,
}

/// Why nothing can be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deaf {
    Closed,
    Broken,
    /// It is not in the talk.
    Stranger(String),
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
        let mut made = Made {
            script: script.clone(),
            turn: 0,
            heard: Vec::new(),
            pieces: VecDeque::new(),
            is_silent: false,
            is_lost: false,
            is_waiting: false,
        };
        made.go_on(now);
        self.made.push(made);
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
            .filter_map(|(script, used)| never(&name(script), script.times, *used, "opened"));
        let stopped = self.made.iter().filter_map(|made| {
            let counts = matches!(made.script.times, Times::Exactly(_)) && !made.is_lost;
            let awaited = made.awaited().filter(|_| counts)?;
            Some(format!("{}: the talk stopped before {awaited}", name(&made.script)))
        });
        unopened.chain(stopped)
    }
}

impl Made {
    /// Everything that the far side says before it is the plugin's turn again.
    fn go_on(&mut self, now: u64) {
        while let Some(turn) = self.script.talk.get(self.turn).filter(|turn| !turn.is_plugins()) {
            let turn = turn.clone();
            self.say(&turn, now);
            self.turn += 1;
        }
    }

    fn say(&mut self, turn: &Turn, now: u64) {
        let before = self.pieces.back().map_or(now, |(at, _)| (*at).max(now));
        let at = before.saturating_add(turn.takes_ms);
        if let Some(Data(reply)) = &turn.reply {
            let size = turn.chunk.unwrap_or(reply.len()).max(1);
            let pieces = reply.chunks(size);
            self.pieces
                .extend(pieces.map(|piece| (at, Piece::Says(Bytes::copy_from_slice(piece)))));
        }
        match turn.then {
            None => {}
            Some(Then::Close) => self.pieces.push_back((at, Piece::Closes)),
            Some(Then::Reset) => self.pieces.push_back((at, Piece::Breaks)),
            Some(Then::Silence) => self.is_silent = true,
        }
    }

    fn hear(&mut self, mut bytes: &[u8], now: u64) -> Result<(), Deaf> {
        self.is_waiting = false;
        while !bytes.is_empty() {
            match self.pieces.back() {
                _ if self.is_lost => return Err(Deaf::Broken),
                _ if self.is_silent => return Ok(()),
                Some((at, Piece::Closes)) if *at <= now => return Err(Deaf::Closed),
                Some((at, Piece::Breaks)) if *at <= now => return Err(Deaf::Broken),
                // It crossed with the end.
                Some((_, Piece::Closes | Piece::Breaks)) => return Ok(()),
                Some((_, Piece::Says(_))) | None => {}
            }
            let Some(turn) = self.script.talk.get(self.turn) else {
                return Err(self.lose(&format!("{}, and the talk is over", seen(bytes))));
            };
            let taken = match turn.take(&self.heard, bytes) {
                Ok(taken) => taken,
                Err(why) => return Err(self.lose(&why)),
            };
            let (now_heard, rest) = bytes.split_at(taken.bytes.min(bytes.len()));
            self.heard.extend(now_heard);
            bytes = rest;
            if taken.is_whole {
                if let Some(missing) = turn.contains.iter().find(|part| !holds(&self.heard, &part.0)) {
                    let why = format!("{}, which does not hold {}", seen(&self.heard), seen(&missing.0));
                    return Err(self.lose(&why));
                }
                let turn = turn.clone();
                self.heard.clear();
                self.say(&turn, now);
                self.turn += 1;
                self.go_on(now);
            }
        }
        Ok(())
    }

    /// From now on nothing fits, so the connection breaks, and the plugin ends by itself.
    fn lose(&mut self, what: &str) -> Deaf {
        self.is_lost = true;
        self.pieces.clear();
        let place = name(&self.script);
        Deaf::Stranger(format!("{place}, turn {}: the plugin sent {what}", self.turn + 1))
    }

    fn give(&mut self, most: usize, now: u64) -> Given {
        self.is_waiting = false;
        match self.pieces.front_mut() {
            _ if self.is_lost => Given::Broken,
            Some((at, _)) if *at > now => Given::Later(*at),
            Some((_, Piece::Closes)) => Given::Closed,
            Some((_, Piece::Breaks)) => Given::Broken,
            Some((_, Piece::Says(bytes))) => {
                let given = bytes.split_to(most.min(bytes.len()));
                if bytes.is_empty() {
                    self.pieces.pop_front();
                }
                Given::Bytes(given)
            }
            None => {
                self.is_waiting = !self.is_silent;
                Given::Nothing
            }
        }
    }

    /// What the plugin still has to send, if anything.
    fn awaited(&self) -> Option<String> {
        let awaited = self.script.talk.get(self.turn)?.awaited();
        let place = format!("the plugin's turn {}, {awaited}", self.turn + 1);
        Some(match self.heard.as_slice() {
            [] => place,
            heard => format!("the rest of {place}, after {}", seen(heard)),
        })
    }
}

/// How much of what was sent belongs to a turn, and whether that is all of it.
struct Taken {
    bytes: usize,
    is_whole: bool,
}

impl Turn {
    fn is_plugins(&self) -> bool {
        self.sends.is_some() || self.sends_bytes.is_some() || self.sends_until.is_some()
    }

    fn awaited(&self) -> String {
        match (&self.sends, self.sends_bytes, &self.sends_until) {
            (Some(Data(wanted)), ..) => seen(wanted),
            (_, Some(count), _) => format!("{count} bytes"),
            (.., Some(Data(end))) => format!("whatever ends with {}", seen(end)),
            (None, None, None) => "nothing".to_owned(),
        }
    }

    fn take(&self, heard: &[u8], bytes: &[u8]) -> Result<Taken, String> {
        if let Some(Data(wanted)) = &self.sends {
            let rest = wanted.get(heard.len()..).unwrap_or_default();
            let length = rest.len().min(bytes.len());
            if let Some(at) = rest.iter().zip(bytes).position(|(wanted, found)| wanted != found) {
                let all = [heard, bytes].concat();
                return Err(format!(
                    "{}, and {} is expected; byte {} is the first that differs",
                    seen(&all),
                    seen(wanted),
                    heard.len() + at
                ));
            }
            return Ok(Taken {
                bytes: length,
                is_whole: length == rest.len(),
            });
        }
        if let Some(Data(end)) = &self.sends_until {
            let all = [heard, bytes].concat();
            let found = all.windows(end.len().max(1)).position(|window| window == end);
            let end = found.map(|at| (at + end.len()).saturating_sub(heard.len()));
            return Ok(Taken {
                bytes: end.unwrap_or(bytes.len()),
                is_whole: end.is_some(),
            });
        }
        let missing = self.sends_bytes.unwrap_or_default().saturating_sub(heard.len());
        Ok(Taken {
            bytes: missing.min(bytes.len()),
            is_whole: missing <= bytes.len(),
        })
    }
}

fn holds(all: &[u8], part: &[u8]) -> bool {
    part.is_empty() || all.windows(part.len()).any(|window| window == part)
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
        text = format!("{text}; nearest is {}: {why}", name(script));
    }
    text
}

fn name(script: &Connection) -> String {
    place(&script.endpoint, script.port, script.tag.as_deref())
}

fn words(wanted: &StageDial) -> String {
    let tag = Some(wanted.tag.as_str()).filter(|tag| !tag.is_empty());
    place(&wanted.endpoint, None, tag)
}

fn place(endpoint: &str, port: Option<u16>, tag: Option<&str>) -> String {
    let port = port.map(|port| format!(", port {port}")).unwrap_or_default();
    let tag = tag.map(|tag| format!(", tag `{tag}`")).unwrap_or_default();
    format!("the connection to `{endpoint}`{port}{tag}")
}

#[cfg(test)]
mod tests {
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
