"""Finds an interface of the host, or says why it is not there."""

import importlib
import importlib.util

from .failure import Failure


class _NoHost:
    """Stands for an interface outside of the host, where tests run in plain Python: it fails when it is used."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, function):
        raise RuntimeError(f"there is no host here to answer {self._name}.{function}; replace it in your test")


def interface(name, module=None):
    """The bindings of an interface that `plugin.toml` must request under this name."""
    if importlib.util.find_spec("wit_world") is None:
        return _NoHost(name)
    try:
        return importlib.import_module(f"wit_world.imports.{module or name}")
    except ImportError:
        raise ImportError(
            f'plugin.toml does not request `{name}`: add "{name}" to `interfaces` of its [requests]'
        ) from None


def called(function, *arguments):
    """Calls a function of the host; a failure of the contract becomes the SDK's."""
    try:
        return function(*arguments)
    except Exception as error:
        told = getattr(error, "value", None)
        if not hasattr(told, "definite"):
            raise
        raise Failure(
            told.code, told.message, is_definite=told.definite, retryable=told.retryable, details=dict(told.details)
        ) from None


def as_bytes(value):
    """Bytes of text, and of bytes; None stays."""
    return value.encode() if isinstance(value, str) else value
