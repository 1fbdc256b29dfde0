//! Server-sent events from bytes: a stream that may be cut anywhere, even inside a letter.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The last id that was given, by this event or one before.
    pub(crate) id: Option<String>,
    /// What kind.
    pub(crate) event: String,
    /// Its lines.
    pub(crate) data: String,
}

/// Takes bytes, gives events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    rest: Vec<u8>,
    current: Message,
}

impl Parser {
    /// The events that these bytes complete. What is left waits for the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let text = String::from_utf8_lossy(&whole);
        text.lines().filter_map(|line| self.line(line)).collect()
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let id = self.current.id.clone();
            let done = std::mem::replace(
                &mut self.current,
                Message {
                    id,
                    ..Message::default()
                },
            );
            return (!done.data.is_empty()).then_some(done);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.current.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.current.event),
            "data" => {
                if !self.current.data.is_empty() {
                    self.current.data.push('\n');
                }
                self.current.data.push_str(value);
            }
            // Comments keep the connection alive; other fields mean nothing to us.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_any_cut() {
        let stream =
            ": hello\n\nevent: record\nid: 7\ndata: {\"a\":\ndata: \"ä\"}\n\nevent: progress\ndata: {}\r\n\r\n";
        let whole = Parser::default().feed(stream.as_bytes());
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].event.as_str(), whole[0].id.as_deref()), ("record", Some("7")));
        assert_eq!(whole[0].data, "{\"a\":\n\"ä\"}");
        assert_eq!(
            (whole[1].event.as_str(), whole[1].id.as_deref()),
            ("progress", Some("7"))
        );
        let mut parser = Parser::default();
        let pieces: Vec<Message> = stream.as_bytes().chunks(1).flat_map(|byte| parser.feed(byte)).collect();
        assert_eq!(pieces, whole);
    }
}
