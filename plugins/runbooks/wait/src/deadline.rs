//! When a wait began and when it ends, as the bytes that the host keeps between two calls.

/// Both in milliseconds since 1970, on the host's clock: its monotonic clock would not survive the host's restart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    began: u64,
    ends: u64,
}

impl Deadline {
    pub(crate) fn after(now: u64, duration_ms: u64) -> Self {
        Self {
            began: now,
            ends: now.saturating_add(duration_ms),
        }
    }

    pub(crate) fn remaining(&self, now: u64) -> u64 {
        self.ends.saturating_sub(now)
    }

    pub(crate) fn waited(&self, now: u64) -> u64 {
        now.saturating_sub(self.began)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        format!("{} {}", self.began, self.ends).into_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (began, ends) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self {
            began: began.parse().ok()?,
            ends: ends.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_trip_through_the_host() {
        let deadline = Deadline::after(10, 90);
        assert_eq!(Deadline::from_bytes(&deadline.to_bytes()), Some(deadline));
        assert_eq!(Deadline::from_bytes(b"soon"), None);
    }

    #[test]
    fn a_clock_set_back_never_makes_time_negative() {
        let deadline = Deadline::after(1_000, 500);
        assert_eq!((deadline.remaining(400), deadline.waited(400)), (1_100, 0));
    }
}
