"""Why something did not work, and what may be assumed about an effect.

The two answers that the host cannot guess, "did it happen?" and "may it happen twice?", are spelled out where a plugin
makes them.
"""

from dataclasses import dataclass


class Failure(Exception):
    """Raise it to report a failure to the host.

    Make one with `Failure.definite` or `Failure.in_doubt`, so that it always says whether the effect can have happened.
    """

    def __init__(self, code, message, *, is_definite, retryable, details):
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_definite = is_definite
        self.is_retryable = retryable
        self.details = dict(details or {})

    @classmethod
    def definite(cls, code, message, *, retryable=False, details=None):
        """The effect certainly did not happen. Only this lets the host use a new key for the next try."""
        return cls(code, message, is_definite=True, retryable=retryable, details=details)

    @classmethod
    def in_doubt(cls, code, message, *, retryable=False, details=None):
        """The effect may have happened. The host then probes, or asks a person, and never guesses."""
        return cls(code, message, is_definite=False, retryable=retryable, details=details)


@dataclass(frozen=True)
class Effect:
    """What may be assumed about an effect after a crash between sending it and recording its outcome."""

    operation: str
    kind: str
    settle_ms: int = 0

    @classmethod
    def read(cls, operation):
        """Changes nothing."""
        return cls(operation, "read")

    @classmethod
    def idempotent(cls, operation):
        """Repeating it changes nothing more."""
        return cls(operation, "idempotent")

    @classmethod
    def keyed(cls, operation):
        """The far side drops a second request with the same `call.key`."""
        return cls(operation, "keyed")

    @classmethod
    def probeable(cls, operation, settle_ms):
        """Whether it happened can be asked by key; after `settle_ms`, absent means absent."""
        return cls(operation, "probeable", settle_ms)

    @classmethod
    def one_shot(cls, operation):
        """None of these: in doubt, a person decides."""
        return cls(operation, "one-shot")
