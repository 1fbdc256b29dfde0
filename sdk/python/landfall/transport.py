"""Streams of bytes to endpoints that the operator configured and named. The host connects, and does TLS."""

from ._requests import as_bytes, called, interface
from .failure import Failure

_host = interface("transport")
_streams = interface("transport", "streams")

#: How much one read asks for.
_SLICE = 64 << 10


def open(endpoint, port=None, tag=""):
    """A warm connection that was parked under this tag, else a new one. `port`: for endpoints with a range of ports."""
    return Connection(called(_host.open, endpoint, port, tag))


class Connection:
    """A stream in both directions."""

    def __init__(self, inner):
        self._inner = inner
        #: It was parked by an earlier call: whatever was agreed on it then still holds.
        self.warm = inner.warm()
        self._reader = None
        self._writer = None
        self._rest = b""

    def send(self, data):
        """Writes bytes or text, all of it."""
        self._writer = self._writer or called(self._inner.writer)
        data = as_bytes(data)
        while data:
            # The most that one such call takes.
            _streamed(self._writer.blocking_write_and_flush, data[:4096])
            data = data[4096:]
        # Those calls do not tell that the far side has closed.
        _streamed(self._writer.check_write)

    def receive(self, count=_SLICE):
        """The bytes that are there, at least one and at most `count`; none at the end."""
        if not self._rest:
            self._reader = self._reader or called(self._inner.reader)
            self._rest = _streamed(self._reader.blocking_read, _SLICE, at_end=b"")
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def receive_line(self, longest=_SLICE):
        """Bytes up to and without the next newline; what there is at the end."""
        line = b""
        while b"\n" not in line:
            more = self.receive()
            if not more:
                return line
            line += more
            if len(line) > longest and b"\n" not in line[: longest + 1]:
                raise Failure.in_doubt("bad-answer", f"a line is longer than {longest} bytes")
        line, rest = line.split(b"\n", 1)
        self._rest = rest + self._rest
        return line

    def park(self):
        """No message is half way: the host may keep the connection for a later call under the same tag.

        One with bytes that came and were not received is not kept.
        """
        if not self._rest:
            self._inner.park()


def _streamed(function, *arguments, at_end=None):
    try:
        return function(*arguments)
    except _host.Err as error:
        if isinstance(error.value, _streams.StreamError_Closed):
            if at_end is not None:
                return at_end
            raise Failure.in_doubt("closed", "the far side closed the connection", retryable=True) from None
        why = error.value.value.to_debug_string()
        raise Failure.in_doubt("broken-connection", why, retryable=True) from None
