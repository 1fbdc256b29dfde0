"""How far an effect is that outlives its call, and what a probe found of it."""

from dataclasses import dataclass, field

from .failure import Failure


@dataclass
class Running:
    handle: str
    note: str
    percent: int | None
    poll_after_ms: int


@dataclass
class Done:
    outputs: dict = field(default_factory=dict)


@dataclass
class Failed:
    failure: Failure


@dataclass
class Absent:
    pass


@dataclass
class Unknown:
    why: str


def running(handle, note="", *, percent=None, poll_after_ms=1_000):
    """It goes on; the host keeps the handle and polls."""
    return Running(handle, note, percent, poll_after_ms)


def done(outputs=None):
    """It is over, with these outputs."""
    return Done(dict(outputs or {}))


def failed(failure):
    """It is over, and did not work."""
    return Failed(failure)


def absent():
    """The effect did not happen (final once `settle_ms` has passed)."""
    return Absent()


def unknown(why):
    """It cannot be told; the host then asks a person."""
    return Unknown(why)
