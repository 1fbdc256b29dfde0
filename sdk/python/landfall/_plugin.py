"""What the exports of every kind share: finding the author's class, saying who it is, and turning what is raised into
the contract's failures."""

import json
import random

from . import log
from . import progress as sdk
from .failure import Failure
from .runbook import Call

try:
    from componentize_py_types import Err
    from wit_world.exports.plugin import Info
    from wit_world.imports import types

    try:
        from wit_world.imports import random as _entropy
    except ImportError:
        _entropy = None
except ImportError:
    # Outside of a component nothing here is called.
    types = None

#: Bytes of an exception's text in the failure that the host journals; the log has the traceback.
_LONGEST_MESSAGE = 2_000


class Unfit(Exception):
    """The source is no plugin as its manifest says it is. Its text is for the author."""


def find(module, kind):
    """An instance of the one class of this kind that the module defines."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__
    ]
    # A class that another one here builds on is no plugin of its own.
    found = [one for one in found if not any(other is not one and issubclass(other, one) for other in found)]
    if len(found) != 1:
        names = ", ".join(one.__name__ for one in found) or "none"
        raise Unfit(
            f"{module.__name__}.py defines {names}; it must define exactly one class that inherits from "
            f"landfall's {kind.__name__}"
        )
    return found[0]()


def describe(plugin, about):
    """The answer to the host's `describe`; `about` is what the manifest says. Nothing is granted to it but the log."""
    return Info(
        name=about["name"],
        version=about["version"],
        kind=about["kind"],
        summary=about["summary"],
        config_schema=plugin.config_schema,
        findings=pairs(plugin.findings),
        ext=[],
    )


def pairs(values):
    """A dict as the contract has it, text by name. What is None is left out; what is neither text nor a number is JSON."""
    return [(str(name), _text(value)) for name, value in dict(values or {}).items() if value is not None]


def _text(value):
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def failure(raised):
    """A `Failure` as the contract has it."""
    return types.Failure(
        code=raised.code,
        message=raised.message,
        retryable=raised.is_retryable,
        definite=raised.is_definite,
        details=pairs(raised.details),
    )


def answer(work):
    """The result of an exported function that may fail. An exception that is no failure leaves the effect in doubt."""
    try:
        _seed()
        return _flushed(work)
    except Failure as raised:
        raise Err(failure(raised)) from None
    except Exception as raised:
        log.exception(raised)
        raise Err(failure(Failure.in_doubt("uncaught-exception", _words(raised)))) from None


def value(work):
    """The result of an exported function that cannot fail: an exception is a trap, with its text in the log."""
    try:
        return _flushed(work)
    except Exception as raised:
        log.exception(raised)
        raise


def _seed():
    # The generator's state was made when the component was built, and would be the same in every call.
    if _entropy:
        random.seed(_entropy.bytes(32))


def _flushed(work):
    try:
        return work()
    finally:
        log._flush()


def _words(raised):
    """`ValueError: no such thing (app.py, line 12)`: the place is the innermost one, as a traceback shows it."""
    place = ""
    trace = raised.__traceback__
    while trace:
        place = f" ({trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(raised).__name__}: {raised}"[:_LONGEST_MESSAGE] + place


def progress(found):
    """`running`, `done` and `failed` as the contract has them; what is the contract's own already stays."""
    if isinstance(found, sdk.Running):
        return types.Progress_Running(running(found))
    if isinstance(found, sdk.Done):
        return types.Progress_Done(pairs(found.outputs))
    if isinstance(found, sdk.Failed):
        return types.Progress_Failed(failure(found.failure))
    return found


def probed(found):
    """`absent`, `running`, `done` and `unknown` as the contract has them."""
    if isinstance(found, sdk.Absent):
        return types.ProbeAnswer_Absent()
    if isinstance(found, sdk.Running):
        return types.ProbeAnswer_Running(running(found))
    if isinstance(found, sdk.Done):
        return types.ProbeAnswer_Done(pairs(found.outputs))
    if isinstance(found, sdk.Unknown):
        return types.ProbeAnswer_Unknown(found.why)
    return found


def running(found):
    return types.Running(
        handle=found.handle, percent=found.percent, note=found.note, poll_after_ms=found.poll_after_ms
    )


def effect(found):
    """An `Effect` as the contract has it."""
    kind = types.EffectClass[found.kind.upper().replace("-", "_")]
    return types.OperationFacts(found.operation, kind, found.settle_ms)


def call(call):
    """The SDK's `Call` of the contract's."""
    return Call(
        installation=call.installation,
        epoch=call.epoch,
        job=call.job,
        step=call.step,
        attempt=call.attempt,
        key=call.key,
        remaining_ms=call.remaining_ms,
        ext=dict(call.ext),
    )


def word(case):
    """An enum's case as the contract writes it."""
    return None if case is None else case.name.lower().replace("_", "-")
