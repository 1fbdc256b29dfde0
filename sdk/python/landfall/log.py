"""Lines for the host's log, which adds the plugin's name, version and digest.

Lines beyond the host's bound for one call are counted and dropped there. `print` and the standard library's `logging`
come here too. Outside of the host, lines go to stderr.
"""

import logging
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
    text = "".join(traceback.format_exception(raised))
    for line in text.rstrip().splitlines()[-_TRACEBACK_LINES:]:
        error(line)


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


def _take_over():
    """Called once, when the component is built."""
    sys.stdout, sys.stderr = _Lines(info), _Lines(warn)
    logging.basicConfig(handlers=[_Handler()], level=logging.INFO, force=True)


def _flush():
    """Called when a call ends: what was printed without a line's end is not lost."""
    sys.stdout.flush()
    sys.stderr.flush()
