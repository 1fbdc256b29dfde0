"""Signatures with keys that never enter a plugin."""

from ._requests import as_bytes, called, interface

_host = interface("signing")


def hmac(key, hash, *messages):
    """HMAC of the first message under the named key, of the second under that result, and so on.

    `hash` is `sha1`, `sha256` or `sha512`. One message signs; several derive a key first, as clouds want it.
    """
    return called(_host.hmac, key, _host.Hash[hash.upper()], [as_bytes(message) for message in messages])
