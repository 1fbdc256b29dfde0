"""Random bytes of the host. The standard library's `random` is seeded with them in every call if they are requested."""

from ._requests import interface

_host = interface("random")


def bytes(count):
    """At most 4,096 a call."""
    return _host.bytes(count)
