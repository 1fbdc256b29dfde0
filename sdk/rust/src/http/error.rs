//! What a failed exchange says about the request: was it certainly not sent, or is it in doubt?
//!
//! The host may use a new key only after a definite failure, so a code that could also come after the request was
//! sent counts as in doubt here.

use std::fmt;

use crate::Failure;
use crate::bindings::wasi::http::types::ErrorCode;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The request cannot be made as it is written. Not sent.
    Invalid(String),
    /// The host refused it, as no grant covers it. Not sent.
    Denied,
    /// No connection came about. Not sent.
    NotSent(String),
    /// It was sent, or may have been.
    InDoubt(String),
    /// The far side answered, but the answer's body was cut off or too long.
    Unreadable(String),
}

impl Error {
    /// The far side certainly saw nothing.
    pub fn not_sent(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Denied | Self::NotSent(_))
    }

    pub(super) fn from_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::HttpRequestDenied => Self::Denied,
            ErrorCode::HttpRequestMethodInvalid
            | ErrorCode::HttpRequestUriInvalid
            | ErrorCode::HttpRequestUriTooLong
            | ErrorCode::HttpRequestHeaderSectionSize(_)
            | ErrorCode::HttpRequestHeaderSize(_)
            | ErrorCode::HttpRequestLengthRequired => Self::Invalid(words(&code)),
            ErrorCode::DnsTimeout
            | ErrorCode::DnsError(_)
            | ErrorCode::DestinationNotFound
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpProhibited
            | ErrorCode::DestinationIpUnroutable
            | ErrorCode::ConnectionRefused
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionLimitReached
            | ErrorCode::TlsCertificateError => Self::NotSent(words(&code)),
            code => Self::InDoubt(words(&code)),
        }
    }
}

/// `ErrorCode::ConnectionRefused` becomes `connection refused`.
fn words(code: &ErrorCode) -> String {
    if let ErrorCode::InternalError(Some(text)) = code {
        return text.clone();
    }
    let name = format!("{code:?}");
    let name = name.strip_prefix("ErrorCode::").unwrap_or(&name);
    let (name, rest) = name.split_at(name.find('(').unwrap_or(name.len()));
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text + rest
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => write!(out, "the request is invalid: {why}"),
            Self::Denied => write!(out, "the host refused the request: no grant covers it"),
            Self::NotSent(why) => write!(out, "no connection: {why}"),
            Self::InDoubt(why) => write!(out, "no answer: {why}"),
            Self::Unreadable(why) => write!(out, "the answer could not be read: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(_) => Self::definite("invalid-request", message),
            Error::Denied => Self::definite("denied", message),
            Error::NotSent(_) => Self::definite("unreachable", message).retryable(),
            Error::InDoubt(_) => Self::in_doubt("no-answer", message).retryable(),
            Error::Unreadable(_) => Self::in_doubt("unreadable-answer", message).retryable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_before_the_first_byte_count_as_not_sent() {
        assert_eq!(
            Error::from_code(ErrorCode::ConnectionRefused),
            Error::NotSent("connection refused".to_owned())
        );
        assert_eq!(Error::from_code(ErrorCode::HttpRequestDenied), Error::Denied);
        for code in [
            ErrorCode::ConnectionTerminated,
            ErrorCode::ConnectionReadTimeout,
            ErrorCode::InternalError(None),
        ] {
            let error = Error::from_code(code);
            assert!(!error.not_sent(), "{error}");
            let failure = Failure::from(error);
            assert!(!failure.definite && failure.retryable);
        }
    }

    #[test]
    fn a_denial_is_definite_and_final() {
        let failure = Failure::from(Error::Denied);
        assert!(failure.definite && !failure.retryable);
    }
}
