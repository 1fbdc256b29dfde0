//! libvirt's remote procedure calls over one stream: a length, a header, arguments in XDR. One call at a time.
//!
//! What matters is the honesty about failures. An error that libvirt answers is its word; a stream that ends leaves the
//! effect open, and is never used again.

use std::io::{self, Read, Write};

use crate::xdr::{Reader, Xdr};

/// The main program, and the one that speaks to QEMU's monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Program {
    Remote = 0x2000_8086,
    Qemu = 0x2000_8087,
}

/// Both programs have had one version ever since.
const VERSION: u32 = 1;

/// Length, program, version, procedure, type, serial, status: seven words.
const HEADER: usize = 28;

/// The longest answer: libvirt's own limit is 32 MiB, and a list of ten thousand machines is two.
const LONGEST: usize = 16 << 20;

/// Behind the length: program, version, procedure, type, serial, status.
type Header = (u32, u32, u32, u32, u32, u32);

const CALL: u32 = 0;
const REPLY: u32 = 1;
const STATUS_OK: u32 = 0;

/// An error of libvirt's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `virErrorNumber`.
    pub(crate) code: i32,
    pub(crate) message: String,
}

/// Why a call gave no answer.
#[derive(Debug)]
pub(crate) enum Error {
    /// libvirt says no.
    Refused(Refusal),
    /// The stream ended, or broke.
    Lost(io::Error),
    /// What came is not what the protocol says.
    Garbled(String),
}

/// A stream with calls on it.
pub(crate) struct Link<S> {
    stream: S,
    serial: u32,
    /// A message was left half way: nothing can be said on it any more.
    broken: bool,
}

impl<S: Read + Write> Link<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            serial: 0,
            broken: false,
        }
    }

    /// The stream, if no message is half way on it.
    pub(crate) fn into_whole(self) -> Option<S> {
        (!self.broken).then_some(self.stream)
    }

    /// Calls and waits for the answer.
    pub(crate) fn call<A: Xdr, R: Xdr>(&mut self, program: Program, procedure: u32, arguments: &A) -> Result<R, Error> {
        if self.broken {
            let why = "the connection broke in an earlier call";
            return Err(Error::Lost(io::Error::new(io::ErrorKind::BrokenPipe, why)));
        }
        self.broken = true;
        self.serial += 1;
        let message = message(program, procedure, self.serial, arguments);
        self.stream.write_all(&message).map_err(Error::Lost)?;
        let (status, body) = self.answer(program, procedure)?;
        self.broken = false;
        if status != STATUS_OK {
            return Err(Error::Refused(refusal(&body)));
        }
        Reader::new(&body)
            .read()
            .map_err(|_| Error::Garbled(format!("the answer to procedure {procedure} is too short")))
    }

    /// The answer to the last call. What libvirt tells unasked is passed over.
    fn answer(&mut self, program: Program, procedure: u32) -> Result<(u32, Vec<u8>), Error> {
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).map_err(Error::Lost)?;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if !(HEADER..=LONGEST).contains(&length) {
                return Err(Error::Garbled(format!("a message of {length} bytes")));
            }
            let mut message = vec![0; length - 4];
            self.stream.read_exact(&mut message).map_err(Error::Lost)?;
            let mut reader = Reader::new(&message);
            let Ok((of_program, _, of_procedure, kind, serial, status)) = reader.read::<Header>() else {
                return Err(Error::Garbled("a header is too short".to_owned()));
            };
            if kind != REPLY {
                continue;
            }
            if (of_program, of_procedure, serial) != (program as u32, procedure, self.serial) {
                return Err(Error::Garbled(format!(
                    "an answer to call {serial} of procedure {of_procedure}, while {} of {procedure} is asked",
                    self.serial
                )));
            }
            return Ok((status, message.split_off(HEADER - 4)));
        }
    }
}

fn message(program: Program, procedure: u32, serial: u32, arguments: &impl Xdr) -> Vec<u8> {
    let mut out = vec![0; 4];
    (program as u32, VERSION, procedure, CALL, serial, STATUS_OK).write(&mut out);
    arguments.write(&mut out);
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    if let Some(place) = out.first_chunk_mut::<4>() {
        *place = length.to_be_bytes();
    }
    out
}

/// Code, domain and message come first; the rest says what the message says.
fn refusal(body: &[u8]) -> Refusal {
    match Reader::new(body).read::<(i32, i32, Option<String>)>() {
        Ok((code, _, message)) => Refusal {
            code,
            message: message.unwrap_or_default(),
        },
        Err(_) => Refusal {
            code: 0,
            message: "an error that cannot be read".to_owned(),
        },
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A far side that says what was put in, and keeps what it hears.
    pub(crate) struct Far {
        pub(crate) says: io::Cursor<Vec<u8>>,
        pub(crate) heard: Vec<u8>,
    }

    impl Far {
        pub(crate) fn saying(says: Vec<u8>) -> Self {
            Self {
                says: io::Cursor::new(says),
                heard: Vec::new(),
            }
        }
    }

    impl Read for Far {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.says.read(bytes)
        }
    }

    impl Write for Far {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn reply(kind: u32, procedure: u32, serial: u32, status: u32, body: &impl Xdr) -> Vec<u8> {
        let mut out = vec![0; 4];
        (Program::Remote as u32, VERSION, procedure, kind, serial, status).write(&mut out);
        body.write(&mut out);
        let length = u32::try_from(out.len()).unwrap();
        out[..4].copy_from_slice(&length.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Far, reply};
    use super::*;

    fn ask(says: Vec<u8>) -> (Result<String, Error>, Link<Far>) {
        let mut link = Link::new(Far::saying(says));
        let answer = link.call(Program::Remote, 14, &("a".to_owned(), 0_u32));
        (answer, link)
    }

    #[test]
    fn a_call_is_a_length_a_header_and_arguments() {
        let (answer, link) = ask(reply(REPLY, 14, 1, 0, &"<domain/>".to_owned()));
        assert_eq!(answer.unwrap(), "<domain/>");
        let heard = link.into_whole().unwrap().heard;
        assert_eq!(heard[..8], [0, 0, 0, 40, 0x20, 0, 0x80, 0x86]);
        assert_eq!(heard.len(), 40);
    }

    #[test]
    fn events_between_are_passed_over() {
        let mut says = reply(2, 107, 0, 0, &3_u32);
        says.extend(reply(REPLY, 14, 1, 0, &"yes".to_owned()));
        assert_eq!(ask(says).0.unwrap(), "yes");
    }

    #[test]
    fn a_refusal_is_libvirts_word_and_breaks_nothing() {
        let error = (42_i32, 10_i32, Some("Domain not found".to_owned()));
        let (answer, link) = ask(reply(REPLY, 14, 1, 1, &error));
        assert!(matches!(answer, Err(Error::Refused(Refusal { code: 42, .. }))));
        assert!(link.into_whole().is_some());
    }

    #[test]
    fn half_an_answer_breaks_the_link() {
        let mut says = reply(REPLY, 14, 1, 0, &"yes".to_owned());
        says.truncate(30);
        let (answer, mut link) = ask(says);
        assert!(matches!(answer, Err(Error::Lost(_))));
        assert!(matches!(
            link.call::<_, ()>(Program::Remote, 14, &()),
            Err(Error::Lost(_))
        ));
        assert!(link.into_whole().is_none());
    }

    #[test]
    fn a_message_of_any_claimed_length_is_not_believed() {
        let (answer, _) = ask(vec![0xff, 0xff, 0xff, 0xff, 0, 0]);
        assert!(matches!(answer, Err(Error::Garbled(_))));
        let (answer, _) = ask(reply(REPLY, 14, 7, 0, &"yes".to_owned()));
        assert!(matches!(answer, Err(Error::Garbled(_))), "an answer to another call");
    }
}
