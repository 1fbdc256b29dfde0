//! One talk: turn by turn, what the plugin has to say, and what the far side says and when.

use std::collections::VecDeque;

use bytes::Bytes;

use super::seen;
use crate::case::{Connection, Data, Then, Turn};

/// A connection that was opened.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) script: Connection,
    /// The turn in which the plugin has the word.
    turn: usize,
    /// What the plugin said of it so far.
    heard: Vec<u8>,
    /// What the plugin has not read yet, with the moment from which it is there.
    pieces: VecDeque<(u64, Piece)>,
    is_silent: bool,
    /// The plugin said something else than it should have.
    pub(super) is_lost: bool,
    /// The plugin looked for more, and there will be none.
    pub(super) is_waiting: bool,
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

impl Made {
    pub(super) fn new(script: Connection, now: u64) -> Self {
        let mut made = Self {
            script,
            turn: 0,
            heard: Vec::new(),
            pieces: VecDeque::new(),
            is_silent: false,
            is_lost: false,
            is_waiting: false,
        };
        made.go_on(now);
        made
    }

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

    pub(super) fn hear(&mut self, mut bytes: &[u8], now: u64) -> Result<(), Deaf> {
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
        let place = self.script.place();
        Deaf::Stranger(format!("{place}, turn {}: the plugin sent {what}", self.turn + 1))
    }

    pub(super) fn give(&mut self, most: usize, now: u64) -> Given {
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
    pub(super) fn awaited(&self) -> Option<String> {
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

impl Connection {
    /// Which one it is, for people.
    pub(super) fn place(&self) -> String {
        place(&self.endpoint, self.port, self.tag.as_deref())
    }
}

pub(super) fn place(endpoint: &str, port: Option<u16>, tag: Option<&str>) -> String {
    let port = port.map(|port| format!(", port {port}")).unwrap_or_default();
    let tag = tag.map(|tag| format!(", tag `{tag}`")).unwrap_or_default();
    format!("the connection to `{endpoint}`{port}{tag}")
}
