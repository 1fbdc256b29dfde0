"""Finds an interface of the host, or says why it is not there."""

import importlib
import importlib.util


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
