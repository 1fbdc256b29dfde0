"""Programs inside the machines that this call is about, run by the adapter of the machine's site."""

from ._requests import as_bytes, called, interface

_host = interface("guests")
_types = interface("guests", "types")


def exec(item, side, program, *arguments, environment=None, input=b"", timeout_ms=30_000):
    """Runs a program at the `source` or `target` machine of an item and waits for its end.

    Gives `code`, `stdout`, `stderr` (bytes) and `truncated`. Repeated with the same command in one step, it carries the
    same key; start long work in the background and ask for it in a later call.
    """
    command = _types.GuestCommand(
        program, list(arguments), list((environment or {}).items()), as_bytes(input), timeout_ms
    )
    return called(_host.exec, item, _host.Side[side.upper()], command)
