"""Memory of the host for what may be forgotten at any time: a login, a cached lookup.

Per site or runbook, and per version of the plugin.
"""

from ._requests import as_bytes, called, interface

_host = interface("session")


def get(key):
    """The value as bytes, or None."""
    return called(_host.get, key)


def get_text(key, default=None):
    """A value that is text; what is not UTF-8 is replaced."""
    value = get(key)
    return default if value is None else value.decode(errors="replace")


def set(key, value, ttl_ms=None):
    """Kept for `ttl_ms`, or until the host forgets it; takes bytes or text."""
    called(_host.set, key, as_bytes(value), ttl_ms)


def delete(key):
    """Forgets the value."""
    called(_host.delete, key)
