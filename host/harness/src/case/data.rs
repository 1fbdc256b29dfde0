//! Bytes in a case: text as it stands, all else in hexadecimal or Base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
#[schemars(with = "Written")]
pub struct Data(pub Vec<u8>);

/// Bytes as an author writes them.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "bytes are written as text, as { hex = \"00 ff\" } or as { base64 = \"AP8=\" }"
)]
enum Written {
    /// As it stands, in UTF-8.
    Text(String),
    /// Digits, with spaces wherever they help.
    Hex(Hex),
    /// With padding.
    Base64(Base64),
}

/// `{ hex = "00 ff" }`
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hex {
    hex: String,
}

/// `{ base64 = "AP8=" }`
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Base64 {
    base64: String,
}

impl TryFrom<Written> for Data {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Text(text) => Ok(Self(text.into_bytes())),
            Written::Hex(Hex { hex }) => from_hex(&hex).map(Self),
            Written::Base64(Base64 { base64 }) => {
                let decoded = STANDARD.decode(&base64);
                decoded.map(Self).map_err(|error| format!("{base64:?}: {error}"))
            }
        }
    }
}

impl From<Data> for Written {
    fn from(data: Data) -> Self {
        match String::from_utf8(data.0) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Hex(Hex {
                hex: to_hex(error.as_bytes()),
            }),
        }
    }
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16))
        .collect();
    let wrong = || format!("{text:?}: hexadecimal is pairs of 0 to 9 and a to f");
    let digits = digits
        .filter(|digits| digits.len().is_multiple_of(2))
        .ok_or_else(wrong)?;
    let byte = |pair: &[u32]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    let byte = |pair: &[u32]| u8::try_from(byte(pair)).unwrap_or_default();
    Ok(digits.chunks(2).map(byte).collect())
}

/// In pairs, as they are read.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct One {
        d: Data,
    }

    fn read(text: &str) -> Result<Vec<u8>, String> {
        let one = toml::from_str::<One>(&format!("d = {text}"));
        one.map(|one| one.d.0).map_err(|error| error.to_string())
    }

    #[test]
    fn bytes_are_read_in_three_forms() {
        for (text, bytes) in [
            (r#""a\r\n""#, &b"a\r\n"[..]),
            (r#"{ hex = "00 Ff7f" }"#, b"\x00\xff\x7f"),
            (r#"{ base64 = "AP8=" }"#, b"\x00\xff"),
            (r#""""#, b""),
        ] {
            assert_eq!(read(text).unwrap(), bytes, "{text}");
        }
        for (text, why) in [
            (r#"{ hex = "0" }"#, "pairs"),
            (r#"{ hex = "0g" }"#, "pairs"),
            (r#"{ base64 = "A" }"#, "\"A\""),
            (r#"{ text = "A" }"#, "as { hex ="),
            ("7", "as { hex ="),
        ] {
            assert!(read(text).unwrap_err().contains(why), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn what_is_no_text_is_written_in_hexadecimal() {
        let written = |bytes: &[u8]| {
            toml::to_string(&One {
                d: Data(bytes.to_vec()),
            })
            .unwrap()
        };
        assert_eq!(written(b"a"), "d = \"a\"\n");
        assert!(
            written(b"\xff\x00").contains("hex = \"ff 00\""),
            "{}",
            written(b"\xff\x00")
        );
    }
}
