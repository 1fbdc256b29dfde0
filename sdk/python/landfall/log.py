"""Lines for the host's log, which adds the plugin's name, version and digest.

Lines beyond the host's bound for one call are counted and dropped there. `print` and the standard library's `logging`
come here too. Outside of the host, lines go to stderr.
"""

import linecache
import logging
import os
import sys
import traceback

try:
    from wit_world.imports import log as _host
except ImportError:
    _host = None

#: Lines of a traceback that are logged: the last ones say what happened, and the host bounds the lines of a call.
_TRACEBACK_LINES = 40


def _write(level, message):
    if _host:
        _host.write(_host.Level[level], message)
    else:
        sys.__stderr__.write(f"{level.lower()}: {message}\n")


def trace(message):
    """For following one call in every detail."""
    _write("TRACE", str(message))


def debug(message):
    """For whoever looks for a mistake."""
    _write("DEBUG", str(message))


def info(message):
    """What happens, for whoever follows."""
    _write("INFO", str(message))


def warn(message):
    """Something is not as it should be, and the work goes on."""
    _write("WARN", str(message))


def error(message):
    """Why it does not go on."""
    _write("ERROR", str(message))


def exception(raised):
    """Logs an exception with its traceback, a line each; the last line says what was raised."""
    text = "".join(traceback.format_exception(type(raised), raised, _authors(raised.__traceback__)))
    for line in text.rstrip().splitlines()[-_TRACEBACK_LINES:]:
        error(line)


def _authors(trace):
    """The traceback from the author's first frame on: this package's own above it say nothing."""
    inner = trace
    while inner and inner.tb_frame.f_globals.get("__package__") == __package__:
        inner = inner.tb_next
    return inner or trace


def _keep_source(module):
    """Keeps the source of the author's modules, so that tracebacks show their lines where there are no files."""
    home = os.path.dirname(module.__file__)
    for file in {getattr(one, "__file__", None) for one in list(sys.modules.values())}:
        if file and file.startswith(home + "/"):
            lines = linecache.getlines(file)
            # Without a time, nobody looks whether the file is still there.
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)


class _Lines:
    """A text stream whose whole lines become log lines; an instance ends with its call and would lose a buffer."""

    encoding = "utf-8"

    def __init__(self, write):
        self._line = ""
        self._log = write

    def write(self, text):
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            self._log(line)
        return len(text)

    def flush(self):
        if self._line:
            line, self._line = self._line, ""
            self._log(line)

    def isatty(self):
        return False


class _Handler(logging.Handler):
    """The standard library's `logging`, sent to the host."""

    def emit(self, record):
        for least, write in ((logging.ERROR, error), (logging.WARNING, warn), (logging.INFO, info)):
            if record.levelno >= least:
                return write(self.format(record))
        return debug(self.format(record))


def _take_over(module):
    """Called once, when the component is built."""
    _keep_source(module)
    sys.stdout, sys.stderr = _Lines(info), _Lines(warn)
    logging.basicConfig(handlers=[_Handler()], level=logging.INFO, format="%(name)s: %(message)s", force=True)


def _flush():
    """Called when a call ends: what was printed without a line's end is not lost."""
    sys.stdout.flush()
    sys.stderr.flush()
