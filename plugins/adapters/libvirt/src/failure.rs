//! What goes wrong, in the contract's words: who said no, whether the effect can have happened, and the cure.

use std::io;

use landfall_sdk::Failure;

use crate::rpc::{Error, Refusal};

/// `virErrorNumber`s that mean something to this adapter.
pub(crate) mod code {
    pub(crate) const DOMAIN_EXISTS: i32 = 28;
    pub(crate) const NO_DOMAIN: i32 = 42;
    pub(crate) const NO_NETWORK: i32 = 43;
    pub(crate) const AUTH_FAILED: i32 = 45;
    pub(crate) const NO_POOL: i32 = 49;
    pub(crate) const NO_VOLUME: i32 = 50;
    pub(crate) const NO_METADATA: i32 = 80;
    pub(crate) const DENIED: i32 = 88;
    pub(crate) const VOLUME_EXISTS: i32 = 90;
    pub(crate) const NO_CHECKPOINT: i32 = 103;
    pub(crate) const NO_BACKUP: i32 = 104;
}

/// The snapshot or the transfer is gone, by a restart of what held it: nothing is wrong with what was received before.
pub(crate) const MARK_LOST: &str = "mark-lost";

impl Error {
    /// libvirt's own code, if it said no.
    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Lost(_) | Self::Garbled(_) => None,
        }
    }

    /// libvirt said no, in words that contain this.
    pub(crate) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.message.to_lowercase().contains(words))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refused(refusal),
            Error::Lost(error) => lost("libvirt", &error),
            Error::Garbled(what) => garbled("libvirt", &what),
        }
    }
}

/// What libvirt refuses has not happened, but an earlier try under the same key, or an earlier part of the same
/// operation, may have; so only what names something that is not there is definite.
fn refused(refusal: Refusal) -> Failure {
    let Refusal { code, message } = refusal;
    match code {
        code::NO_DOMAIN => Failure::definite("not-found", format!("libvirt has no such machine: {message}")),
        code::NO_NETWORK => Failure::definite("not-found", format!("libvirt has no such network: {message}")),
        code::NO_POOL | code::NO_VOLUME => Failure::in_doubt("storage-missing", format!("libvirt: {message}")),
        code::AUTH_FAILED | code::DENIED => Failure::in_doubt(
            "access-denied",
            format!("libvirt denies it: {message}; look at its access rules and at the client's certificate"),
        ),
        _ if message.contains("No space left") => no_space(&message),
        _ => Failure::in_doubt("refused", format!("libvirt refuses it: {message}")).retryable(),
    }
    .detail("libvirt-error", code.to_string())
}

/// A stream ended or broke.
pub(crate) fn lost(who: &str, error: &io::Error) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "closed the connection in the middle of a call".to_owned()
        }
        _ => format!("does not answer any more ({error})"),
    };
    let why = format!("{who} {what}; see whether its daemon runs, and whether the endpoint and `tls` are right");
    Failure::in_doubt("unreachable", why).retryable()
}

pub(crate) fn garbled(who: &str, what: &str) -> Failure {
    let why = format!("{who} answered what its protocol does not say: {what}");
    Failure::in_doubt("unexpected-answer", why).retryable()
}

pub(crate) fn no_space(what: &str) -> Failure {
    let why = format!("the storage pool is full ({what}); free space or enlarge it, it goes on by itself then");
    Failure::in_doubt("no-space", why).retryable()
}

pub(crate) fn mark_lost(why: &str) -> Failure {
    Failure::definite(
        MARK_LOST,
        format!("{why}; the cycle begins anew, with the same changes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: i32, message: &str) -> Failure {
        Error::Refused(Refusal {
            code,
            message: message.to_owned(),
        })
        .into()
    }

    #[test]
    fn what_is_not_there_is_definite() {
        let gone = refusal(code::NO_DOMAIN, "no domain with matching uuid");
        assert_eq!((&*gone.code, gone.definite, gone.retryable), ("not-found", true, false));
    }

    #[test]
    fn a_refusal_in_the_middle_may_be_tried_again() {
        let busy = refusal(68, "cannot acquire state change lock");
        assert_eq!((&*busy.code, busy.definite, busy.retryable), ("refused", false, true));
        assert_eq!(refusal(1, "write: No space left on device").code, "no-space");
    }

    #[test]
    fn a_lost_connection_says_nothing_about_the_effect() {
        let failure: Failure = Error::Lost(io::ErrorKind::UnexpectedEof.into()).into();
        assert_eq!(
            (&*failure.code, failure.definite, failure.retryable),
            ("unreachable", false, true)
        );
    }
}
