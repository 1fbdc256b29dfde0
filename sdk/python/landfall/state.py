"""Durable values by key, for what must survive the host's restart: a cursor, a change number.

An adapter has one set for each site, a runbook has one; other versions of the same plugin see it too. Not part of a job:
what a step decides by belongs into its outputs.
"""

from ._requests import as_bytes, called, interface

_host = interface("state")


def get(key):
    """The value as bytes, or None."""
    return called(_host.get, key)


def get_text(key, default=None):
    """A value that is text; what is not UTF-8 is replaced."""
    value = get(key)
    return default if value is None else value.decode(errors="replace")


def set(key, value):
    """Durable when it returns; takes bytes or text. Beyond the operator's quota it fails with `quota-exceeded`."""
    called(_host.set, key, as_bytes(value))


def delete(key):
    """Forgets the value."""
    called(_host.delete, key)


def swap(key, expected, value):
    """Replaces only what is as expected (None: not there), and says whether it did. Calls run beside each other."""
    return called(_host.swap, key, as_bytes(expected), as_bytes(value))


def keys(prefix="", after=None):
    """In order, at most 1,000; `after` goes on behind a key."""
    return called(_host.keys, prefix, after)
