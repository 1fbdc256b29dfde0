//! NBD, the protocol by which QEMU offers disks: the few messages that reading, writing and asking for changes need.
//! There is no kept client that runs in WebAssembly, so it is written here, from the public protocol document.
//!
//! Two kinds of conversation. One about data has simple replies: a header, and then exactly the bytes asked for, which
//! go between the far side and the host's buffer. One about what changed has structured replies.

use std::io::{self, Read, Write};

/// What can go wrong in a conversation.
#[derive(Debug)]
pub(crate) enum Error {
    /// QEMU says no to an option: there is no such export, or no such bitmap.
    Unknown(String),
    /// A request failed with this error number.
    Failed(u32),
    /// The stream ended or broke.
    Lost(io::Error),
    /// What came is not what the protocol says.
    Garbled(&'static str),
}

type Result<T> = std::result::Result<T, Error>;

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// `ENOSPC`.
pub(crate) const NO_SPACE: u32 = 28;

const MAGIC: u64 = 0x4e42_444d_4147_4943;
const HAVE_OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

const OPTION_GO: u32 = 7;
const OPTION_STRUCTURED: u32 = 8;
const OPTION_SET_META: u32 = 10;

const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_META: u32 = 4;
const REPLY_ERROR: u32 = 1 << 31;

const REQUEST: u32 = 0x2560_9513;
const SIMPLE: u32 = 0x6744_6698;
const STRUCTURED: u32 = 0x668e_33ef;

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const BLOCK_STATUS: u16 = 7;

const CHUNK_STATUS: u16 = 5;
const CHUNK_ERROR: u16 = 1 << 15;
const CHUNK_DONE: u16 = 1;

/// One answer about a gigabyte in 64 KiB clusters is 128 KiB; QEMU cuts it at a megabyte.
const LONGEST: usize = 2 << 20;

/// Identifies a request; one is under way at a time.
const COOKIE: u64 = 1;

/// Where data is asked for: a whole number of gigabytes fits the length field.
const STATUS_SPAN: u64 = 1 << 30;

fn word<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u32_of(stream: &mut impl Read) -> Result<u32> {
    Ok(u32::from_be_bytes(word(stream)?))
}

fn u64_of(stream: &mut impl Read) -> Result<u64> {
    Ok(u64::from_be_bytes(word(stream)?))
}

fn u16_of(stream: &mut impl Read) -> Result<u16> {
    Ok(u16::from_be_bytes(word(stream)?))
}

/// Agrees on an export, for data. Gives its size.
pub(crate) fn open_data(stream: &mut (impl Read + Write), export: &str) -> Result<u64> {
    greet(stream)?;
    go(stream, export)
}

/// Agrees on an export and on what is asked of it. Gives its size and the number of each context, in their order.
pub(crate) fn open_status(
    stream: &mut (impl Read + Write),
    export: &str,
    contexts: &[String],
) -> Result<(u64, Vec<u32>)> {
    greet(stream)?;
    option(stream, OPTION_STRUCTURED, &[])?;
    match option_reply(stream, OPTION_STRUCTURED)? {
        (REPLY_ACK, _) => {}
        (_, why) => return Err(unknown("structured replies", &why)),
    }
    let mut data = Vec::new();
    put_text(&mut data, export);
    data.extend(u32::try_from(contexts.len()).unwrap_or(0).to_be_bytes());
    for context in contexts {
        put_text(&mut data, context);
    }
    option(stream, OPTION_SET_META, &data)?;
    let mut numbers = vec![None; contexts.len()];
    loop {
        let (kind, data) = option_reply(stream, OPTION_SET_META)?;
        match kind {
            REPLY_ACK => break,
            REPLY_META => {
                let (number, name) = data.split_first_chunk::<4>().ok_or(Error::Garbled("a context"))?;
                let place = contexts.iter().position(|context| context.as_bytes() == name);
                if let Some(slot) = place.and_then(|place| numbers.get_mut(place)) {
                    *slot = Some(u32::from_be_bytes(*number));
                }
            }
            _ => return Err(unknown(export, &data)),
        }
    }
    let numbers: Option<Vec<u32>> = numbers.into_iter().collect();
    let numbers = numbers.ok_or_else(|| Error::Unknown(format!("{export} has not all of {}", contexts.join(", "))))?;
    Ok((go(stream, export)?, numbers))
}

fn greet(stream: &mut (impl Read + Write)) -> Result<()> {
    if (u64_of(stream)?, u64_of(stream)?) != (MAGIC, HAVE_OPTION) {
        return Err(Error::Garbled("its greeting is not NBD's"));
    }
    let offered = u16_of(stream)?;
    if offered & FIXED_NEWSTYLE == 0 {
        return Err(Error::Garbled("it speaks an old dialect"));
    }
    stream.write_all(&u32::from(offered & (FIXED_NEWSTYLE | NO_ZEROES)).to_be_bytes())?;
    Ok(())
}

fn option(stream: &mut impl Write, option: u32, data: &[u8]) -> Result<()> {
    let mut message = HAVE_OPTION.to_be_bytes().to_vec();
    message.extend(option.to_be_bytes());
    message.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(data);
    stream.write_all(&message)?;
    Ok(())
}

fn option_reply(stream: &mut impl Read, option: u32) -> Result<(u32, Vec<u8>)> {
    if (u64_of(stream)?, u32_of(stream)?) != (OPTION_REPLY, option) {
        return Err(Error::Garbled("a reply to another option"));
    }
    let kind = u32_of(stream)?;
    let length = usize::try_from(u32_of(stream)?).unwrap_or(usize::MAX);
    Ok((kind, bytes(stream, length)?))
}

fn bytes(stream: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    if length > LONGEST {
        return Err(Error::Garbled("an answer is too long"));
    }
    let mut data = vec![0; length];
    stream.read_exact(&mut data)?;
    Ok(data)
}

fn go(stream: &mut (impl Read + Write), export: &str) -> Result<u64> {
    let mut data = Vec::new();
    put_text(&mut data, export);
    // No information is asked for; the size comes anyway.
    data.extend(0_u16.to_be_bytes());
    option(stream, OPTION_GO, &data)?;
    let mut size = None;
    loop {
        let (kind, data) = option_reply(stream, OPTION_GO)?;
        match kind {
            REPLY_ACK => return size.ok_or(Error::Garbled("the export's size is missing")),
            REPLY_INFO => {
                // Type 0 is size and flags.
                if let Some((&[0, 0], rest)) = data.split_first_chunk::<2>()
                    && let Some((bytes, _)) = rest.split_first_chunk::<8>()
                {
                    size = Some(u64::from_be_bytes(*bytes));
                }
            }
            kind if kind & REPLY_ERROR != 0 => return Err(unknown(export, &data)),
            _ => {}
        }
    }
}

fn unknown(what: &str, why: &[u8]) -> Error {
    Error::Unknown(format!("{what}: {}", String::from_utf8_lossy(why)))
}

fn put_text(data: &mut Vec<u8>, text: &str) {
    data.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    data.extend(text.as_bytes());
}

fn request(stream: &mut impl Write, kind: u16, offset: u64, length: u32) -> Result<()> {
    let mut message = [0; 28];
    let parts: [&[u8]; 6] = [
        &REQUEST.to_be_bytes(),
        &[0, 0],
        &kind.to_be_bytes(),
        &COOKIE.to_be_bytes(),
        &offset.to_be_bytes(),
        &length.to_be_bytes(),
    ];
    for (place, byte) in message.iter_mut().zip(parts.concat()) {
        *place = byte;
    }
    stream.write_all(&message)?;
    Ok(())
}

/// Asks for bytes; on success exactly so many follow on the stream.
pub(crate) fn ask_read(stream: &mut (impl Read + Write), offset: u64, length: u32) -> Result<()> {
    request(stream, READ, offset, length)?;
    reply(stream)
}

/// Announces bytes, which then go onto the stream; [`reply`] says how it went.
pub(crate) fn announce_write(stream: &mut impl Write, offset: u64, length: u32) -> Result<()> {
    request(stream, WRITE, offset, length)
}

/// What was written is on the disk when it returns.
pub(crate) fn flush(stream: &mut (impl Read + Write)) -> Result<()> {
    request(stream, FLUSH, 0, 0)?;
    reply(stream)
}

/// The end of a request with simple replies.
pub(crate) fn reply(stream: &mut impl Read) -> Result<()> {
    if u32_of(stream)? != SIMPLE {
        return Err(Error::Garbled("no simple reply"));
    }
    let error = u32_of(stream)?;
    if u64_of(stream)? != COOKIE {
        return Err(Error::Garbled("a reply to another request"));
    }
    match error {
        0 => Ok(()),
        error => Err(Error::Failed(error)),
    }
}

/// A stretch of the disk with its flags in one context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) bytes: u64,
    pub(crate) flags: u32,
}

/// What the contexts say from an offset on: of each a few stretches, in order, that need not reach the end.
pub(crate) fn block_status(
    stream: &mut (impl Read + Write),
    offset: u64,
    end: u64,
    contexts: &[u32],
) -> Result<Vec<Vec<Stretch>>> {
    let length = u32::try_from((end - offset).min(STATUS_SPAN)).unwrap_or(u32::MAX);
    request(stream, BLOCK_STATUS, offset, length)?;
    let mut found = vec![Vec::new(); contexts.len()];
    loop {
        if u32_of(stream)? != STRUCTURED {
            return Err(Error::Garbled("no structured reply"));
        }
        let (flags, kind) = (u16_of(stream)?, u16_of(stream)?);
        if u64_of(stream)? != COOKIE {
            return Err(Error::Garbled("a reply to another request"));
        }
        let length = usize::try_from(u32_of(stream)?).unwrap_or(usize::MAX);
        let data = bytes(stream, length)?;
        if kind & CHUNK_ERROR != 0 {
            let error = data.first_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word));
            return Err(Error::Failed(error));
        }
        if kind == CHUNK_STATUS {
            let (context, list) = data.split_first_chunk::<4>().ok_or(Error::Garbled("a status"))?;
            let context = u32::from_be_bytes(*context);
            let place = contexts.iter().position(|number| *number == context);
            if let Some(slot) = place.and_then(|place| found.get_mut(place)) {
                *slot = stretches(list);
            }
        }
        if flags & CHUNK_DONE != 0 {
            return if found.iter().any(Vec::is_empty) {
                Err(Error::Garbled("a context was not answered"))
            } else {
                Ok(found)
            };
        }
    }
}

fn stretches(list: &[u8]) -> Vec<Stretch> {
    let (pairs, _) = list.as_chunks::<8>();
    pairs
        .iter()
        .filter_map(|pair| {
            let (bytes, flags) = pair.split_first_chunk::<4>()?;
            Some(Stretch {
                bytes: u64::from(u32::from_be_bytes(*bytes)),
                flags: u32::from_be_bytes(*flags.first_chunk()?),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::testing::Far;

    fn greeting() -> Vec<u8> {
        [
            &MAGIC.to_be_bytes()[..],
            &HAVE_OPTION.to_be_bytes(),
            &3_u16.to_be_bytes(),
        ]
        .concat()
    }

    fn option_answer(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [
            &OPTION_REPLY.to_be_bytes()[..],
            &option.to_be_bytes(),
            &kind.to_be_bytes(),
            &length,
            data,
        ]
        .concat()
    }

    fn size(bytes: u64) -> Vec<u8> {
        let info = [&[0, 0][..], &bytes.to_be_bytes(), &[0, 1]].concat();
        [
            option_answer(OPTION_GO, REPLY_INFO, &info),
            option_answer(OPTION_GO, REPLY_ACK, &[]),
        ]
        .concat()
    }

    #[test]
    fn an_export_has_a_size() {
        let mut far = Far::saying([greeting(), size(1 << 30)].concat());
        assert_eq!(open_data(&mut far, "vda").unwrap(), 1 << 30);
        assert_eq!(far.heard[..4], [0, 0, 0, 3]);
    }

    #[test]
    fn an_unknown_export_is_told_from_a_broken_stream() {
        let no = option_answer(OPTION_GO, REPLY_ERROR | 6, b"export 'x' not present");
        let mut far = Far::saying([greeting(), no].concat());
        assert!(matches!(open_data(&mut far, "x"), Err(Error::Unknown(why)) if why.contains("not present")));
        let mut cut = Far::saying(greeting());
        assert!(matches!(open_data(&mut cut, "x"), Err(Error::Lost(_))));
        assert!(matches!(
            open_data(&mut Far::saying(vec![0; 32]), "x"),
            Err(Error::Garbled(_))
        ));
    }

    #[test]
    fn contexts_are_found_by_their_names() {
        let context = [&7_u32.to_be_bytes()[..], b"base:allocation"].concat();
        let says = [
            greeting(),
            option_answer(OPTION_STRUCTURED, REPLY_ACK, &[]),
            option_answer(OPTION_SET_META, REPLY_META, &context),
            option_answer(OPTION_SET_META, REPLY_ACK, &[]),
            size(4_096),
        ];
        let contexts = ["base:allocation".to_owned()];
        let found = open_status(&mut Far::saying(says.concat()), "vda", &contexts).unwrap();
        assert_eq!(found, (4_096, vec![7]));
        let missing = ["base:allocation".to_owned(), "qemu:dirty-bitmap:x".to_owned()];
        let found = open_status(&mut Far::saying(says.concat()), "vda", &missing);
        assert!(matches!(found, Err(Error::Unknown(_))));
    }

    fn chunk(flags: u16, kind: u16, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        let parts = [&STRUCTURED.to_be_bytes()[..], &flags.to_be_bytes(), &kind.to_be_bytes()];
        [&parts.concat()[..], &COOKIE.to_be_bytes(), &length, data].concat()
    }

    #[test]
    fn stretches_come_by_context() {
        let words: Vec<u8> = [7_u32, 65_536, 0, 131_072, 1]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        let mut far = Far::saying(chunk(1, CHUNK_STATUS, &words));
        let found = block_status(&mut far, 0, 1 << 20, &[7]).unwrap();
        let expected = [(65_536, 0), (131_072, 1)].map(|(bytes, flags)| Stretch { bytes, flags });
        assert_eq!(found, [expected.to_vec()]);
        let refused = chunk(1, CHUNK_ERROR | 1, &[0, 0, 0, 22, 0, 0]);
        assert!(matches!(
            block_status(&mut Far::saying(refused), 0, 1, &[7]),
            Err(Error::Failed(22))
        ));
        assert!(
            block_status(&mut Far::saying(chunk(1, 0, &[])), 0, 1, &[7]).is_err(),
            "nothing was said"
        );
    }

    #[test]
    fn a_reply_says_how_it_went() {
        let answer = |error: u32| [&SIMPLE.to_be_bytes()[..], &error.to_be_bytes(), &COOKIE.to_be_bytes()].concat();
        assert!(reply(&mut &answer(0)[..]).is_ok());
        assert!(matches!(
            reply(&mut &answer(NO_SPACE)[..]),
            Err(Error::Failed(NO_SPACE))
        ));
    }
}
