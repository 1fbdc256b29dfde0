"""The host's clocks. Never there for policies: they get the time in the request, so that a decision can be replayed."""

from ._requests import interface

_host = interface("clock")


def now_ms():
    """Milliseconds since 1970."""
    return _host.now_ms()


def monotonic_ms():
    """Milliseconds since an arbitrary moment; never goes back."""
    return _host.monotonic_ms()
