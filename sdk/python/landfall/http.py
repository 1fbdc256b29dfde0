"""A small blocking HTTP client over `wasi:http`, reaching only what the operator granted.

Credentials are not its business: the host adds them to a granted request, so no secret ever enters a plugin. Redirects
are not followed. What it must never do is hide whether a request was sent: see `Error`.
"""

import json as _json
from urllib.parse import quote, urlsplit

from ._requests import interface
from .failure import Failure

_wasi = interface("http", "wasi_http_types")
_handler = interface("http", "outgoing_handler")
_streams = interface("http", "streams")

#: What `Response.bytes` reads at most. Answers to plugins are small documents, and a guest's memory is bounded.
MAX_BODY = 4 << 20

#: How much one read or write asks for.
_SLICE = 64 << 10

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")

#: Codes that can come only before the first byte has left. Whatever else it is, it may have been sent.
_INVALID = (
    "HttpRequestMethodInvalid HttpRequestUriInvalid HttpRequestUriTooLong HttpRequestHeaderSectionSize "
    "HttpRequestHeaderSize HttpRequestLengthRequired"
).split()
_NOT_SENT = (
    "DnsTimeout DnsError DestinationNotFound DestinationUnavailable DestinationIpProhibited DestinationIpUnroutable "
    "ConnectionRefused ConnectionTimeout ConnectionLimitReached TlsCertificateError"
).split()


class Error(Failure):
    """Why there is no answer. A failure, so a plugin that does not catch it has reported it.

    `kind` is `invalid` (the request cannot be made), `denied` (no grant covers it), `not-sent` (no connection came
    about), `in-doubt` (it was sent, or may have been) or `unreadable` (the answer's body was cut off or too long).
    """

    _KINDS = {
        "invalid": ("invalid-request", "the request is invalid: ", True, False),
        "denied": ("denied", "the host refused the request: no grant covers it", True, False),
        "not-sent": ("unreachable", "no connection: ", True, True),
        "in-doubt": ("no-answer", "no answer: ", False, True),
        "unreadable": ("unreadable-answer", "the answer could not be read: ", False, True),
    }

    def __init__(self, kind, why=""):
        code, words, is_definite, retryable = self._KINDS[kind]
        super().__init__(code, words + why, is_definite=is_definite, retryable=retryable, details=None)
        self.kind = kind

    @property
    def not_sent(self):
        """The far side certainly saw nothing."""
        return self.is_definite

    @classmethod
    def _of(cls, code):
        name = type(code).__name__.removeprefix("ErrorCode_")
        if name == "HttpRequestDenied":
            return cls("denied")
        kind = "invalid" if name in _INVALID else "not-sent" if name in _NOT_SENT else "in-doubt"
        words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
        value = getattr(code, "value", None)
        if name == "InternalError" and value:
            words = value
        elif name == "DnsError" and value.rcode:
            words = f"{words}: {value.rcode}"
        return cls(kind, words)


def get(url, **options):
    """A GET request; see `request`."""
    return request("GET", url, **options)


def post(url, **options):
    """A POST request; see `request`."""
    return request("POST", url, **options)


def request(method, url, *, headers=None, body=None, json=None, timeout_ms=None):
    """Sends a request and waits until the answer begins. Any status is an answer.

    `body` is bytes or text, or a buffer of the host, whose bytes then never enter the plugin's memory; `json` is
    anything that can be written as JSON. `timeout_ms` is how long to wait until the answer begins, the connection
    included; the host's limit for the whole call holds as well.
    """
    headers = dict(headers or {})
    if json is not None:
        body = _json.dumps(json)
        headers.setdefault("content-type", "application/json")
    if isinstance(body, str):
        body = body.encode()
    length = _length(body)
    # Without it a body would be chunked, which small servers do not read.
    if length or method not in ("GET", "HEAD"):
        headers["content-length"] = str(length)
    outgoing = _outgoing(method, url, headers)
    out = outgoing.body()
    try:
        pending = _handler.handle(outgoing, _options(timeout_ms))
    except _wasi.Err as error:
        raise Error._of(error.value) from None
    # A refused or broken request closes the body's stream, and then only the answer says why.
    broken = _send(out, body)
    answer = _receive(pending)
    if isinstance(answer, _wasi.Err):
        raise Error._of(answer.value)
    if answer is None:
        raise Error("in-doubt", f"sending the body failed: {broken}" if broken else "the host lost the answer")
    return Response(answer.value)


class Response:
    """An answer. Its body can be read once."""

    def __init__(self, inner):
        self._inner = inner
        self.status = inner.status()
        self.headers = {}
        for name, value in inner.headers().entries():
            self.headers.setdefault(name.lower(), value.decode(errors="replace"))

    @property
    def ok(self):
        """The status is one of 200 to 299."""
        return 200 <= self.status < 300

    def bytes(self):
        """The body, at most `MAX_BODY`."""
        whole = bytearray()
        with self._body() as body, body.stream() as stream:
            while slice := _read(stream):
                whole += slice
                if len(whole) > MAX_BODY:
                    raise Error("unreadable", f"it is longer than {MAX_BODY} bytes")
        return bytes(whole)

    def text(self):
        """The body as text; what is not UTF-8 is replaced."""
        return self.bytes().decode(errors="replace")

    def json(self):
        """The body as JSON."""
        text = self.text()
        try:
            return _json.loads(text)
        except ValueError as error:
            raise Error("unreadable", f"it is no JSON: {error}") from None

    def into_buffer(self, buffer):
        """Appends the body to a buffer of the host. The bytes never enter the plugin's memory."""
        before = buffer.len()
        with self._body() as body, body.stream() as stream, buffer.writer() as writer:
            if broken := _splice(writer, stream):
                raise Error("unreadable", broken)
        return buffer.len() - before

    def _body(self):
        try:
            return self._inner.consume()
        except _wasi.Err:
            raise Error("unreadable", "its body was read before") from None


def encode(text):
    """Percent-encodes text so that it can stand in one segment of a path or one value of a query."""
    return quote(text, safe="")


def _length(body):
    if body is None:
        return 0
    return len(body) if isinstance(body, (bytes, bytearray)) else body.len()


def _outgoing(method, url, headers):
    scheme, authority, path = _split(url)
    fields = _wasi.Fields()
    for name, value in headers.items():
        try:
            fields.append(name, str(value).encode())
        except _wasi.Err:
            raise Error("invalid", f"the header `{name}` is not allowed or holds a forbidden character") from None
    outgoing = _wasi.OutgoingRequest(fields)
    try:
        outgoing.set_method(_method(method))
        outgoing.set_scheme(_wasi.Scheme_Https() if scheme == "https" else _wasi.Scheme_Http())
        outgoing.set_authority(authority)
        outgoing.set_path_with_query(path)
    except _wasi.Err:
        raise Error("invalid", f"the host takes no such request to {authority}") from None
    return outgoing


def _split(url):
    # The text itself stays out of the error: it may hold a token, and errors are shown and stored.
    if any(letter <= " " or letter == "\x7f" for letter in url):
        raise Error("invalid", "a URL holds no spaces or control characters; encode them")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Error("invalid", "the URL's host cannot be read") from None
    if parts.scheme not in ("http", "https"):
        raise Error("invalid", "a URL begins with http:// or https://")
    if not parts.netloc:
        raise Error("invalid", "the URL names no host")
    if "@" in parts.netloc:
        raise Error("invalid", "credentials do not belong into a URL; the host adds them")
    query = f"?{parts.query}" if parts.query else ""
    return parts.scheme, parts.netloc, (parts.path or "/") + query


def _method(name):
    if name in _METHODS:
        return getattr(_wasi, f"Method_{name.capitalize()}")()
    return _wasi.Method_Other(name)


def _options(timeout_ms):
    if timeout_ms is None:
        return None
    options = _wasi.RequestOptions()
    # The host adds the two up.
    half = int(timeout_ms) * 1_000_000 // 2
    for set_timeout in (options.set_connect_timeout, options.set_first_byte_timeout):
        try:
            set_timeout(half)
        except _wasi.Err:
            # A host without such a timeout; its limit for the whole call holds in any case.
            pass
    return options


def _send(out, body):
    """Why the body was not sent whole, or None. Such a one is dropped unfinished, so that it passes for no whole one."""
    try:
        if body is not None and _length(body):
            with out.write() as stream:
                if isinstance(body, (bytes, bytearray)):
                    _write(stream, body)
                else:
                    with body.reader() as reader:
                        if broken := _splice(stream, reader):
                            out.__exit__(None, None, None)
                            return broken
        _wasi.OutgoingBody.finish(out, None)
    except _wasi.Err as error:
        return _words(error.value)
    return None


def _write(stream, data):
    with stream.subscribe() as ready:
        while data:
            allowed = stream.check_write()
            if not allowed:
                ready.block()
                continue
            stream.write(bytes(data[:allowed]))
            data = data[allowed:]
    stream.blocking_flush()


def _receive(pending):
    with pending.subscribe() as ready:
        ready.block()
    outer = pending.get()
    return outer.value if isinstance(outer, _wasi.Ok) else None


def _read(stream):
    try:
        return stream.blocking_read(_SLICE)
    except _wasi.Err as error:
        if isinstance(error.value, _streams.StreamError_Closed):
            return b""
        raise Error("unreadable", _words(error.value)) from None


def _splice(to, source):
    """Moves bytes until the source ends; what went wrong, or None.

    `splice` reports the end of either side the same way, so the source is asked once more: a destination that was full
    before then must not pass for success.
    """
    try:
        while True:
            to.blocking_splice(source, _SLICE)
    except _wasi.Err as error:
        if not isinstance(error.value, _streams.StreamError_Closed):
            return _words(error.value)
    try:
        source.blocking_read(1)
        return "the destination takes no more"
    except _wasi.Err as error:
        if not isinstance(error.value, _streams.StreamError_Closed):
            return _words(error.value)
    try:
        to.blocking_flush()
    except _wasi.Err as error:
        # A destination that is now exactly full is closed too, and has everything.
        if not isinstance(error.value, _streams.StreamError_Closed):
            return _words(error.value)
    return None


def _words(error):
    if isinstance(error, _streams.StreamError_LastOperationFailed):
        return error.value.to_debug_string()
    return "the stream was closed"
