//! Constructors for [`Failure`] and [`Effect`], so that the two answers the host cannot guess, "did it happen?" and
//! "may it happen twice?", are spelled out where a plugin makes them.

use crate::{Effect, EffectClass, Failure};

impl Failure {
    /// The effect certainly did not happen, and trying again is useless until somebody changes something.
    /// Add [`Failure::retryable`] if it is not.
    pub fn definite(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retryable: false,
            definite: true,
            details: Vec::new(),
        }
    }

    /// The effect may have happened. The host never uses a new key after this, and probes or asks where it has to.
    pub fn in_doubt(code: &str, message: impl Into<String>) -> Self {
        Self {
            definite: false,
            ..Self::definite(code, message)
        }
    }

    /// The same call may work later without anybody changing anything.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Adds a value for the operator, shown beside the message.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.push((name.to_owned(), value.into()));
        self
    }
}

impl Effect {
    fn of(operation: &str, class: EffectClass) -> Self {
        Self {
            operation: operation.to_owned(),
            class,
            settle_ms: 0,
        }
    }

    /// Changes nothing.
    pub fn read(operation: &str) -> Self {
        Self::of(operation, EffectClass::Read)
    }

    /// Repeating it changes nothing more.
    pub fn idempotent(operation: &str) -> Self {
        Self::of(operation, EffectClass::Idempotent)
    }

    /// The far side drops a second request with the same key.
    pub fn keyed(operation: &str) -> Self {
        Self::of(operation, EffectClass::Keyed)
    }

    /// Whether it happened can be asked by key; after `settle_ms`, absent means absent.
    pub fn probeable(operation: &str, settle_ms: u64) -> Self {
        Self {
            settle_ms,
            ..Self::of(operation, EffectClass::Probeable)
        }
    }

    /// None of these: in doubt, a person decides.
    pub fn one_shot(operation: &str) -> Self {
        Self::of(operation, EffectClass::OneShot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_say_whether_the_effect_happened() {
        let refused = Failure::definite("refused", "no");
        assert!(refused.definite && !refused.retryable);
        let later = Failure::in_doubt("timeout", "no answer")
            .retryable()
            .detail("after", "5s");
        assert!(!later.definite && later.retryable);
        assert_eq!(later.details, [("after".to_owned(), "5s".to_owned())]);
    }
}
