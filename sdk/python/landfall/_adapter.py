"""The exports of an adapter. Its records are large and stay the contract's own; calls, progress and failures are the
SDK's."""

from . import _plugin
from .adapter import Adapter as Base

#: Functions that cannot fail.
_PLAIN = ("get_features",)
#: Functions whose first argument is the call, and those that give progress.
_WITH_CALL = ("submit", "probe", "cancel", "write")
_PROGRESS = ("submit", "cancel")


def exports(module, about):
    """The classes that the component exports, by the names that componentize-py looks for."""
    plugin = _plugin.find(module, Base)

    class Plugin:
        def describe(self):
            return _plugin.value(lambda: _plugin.describe(plugin, about))

    class Adapter:
        pass

    for name in (one for one in vars(Base) if not one.startswith("_") and callable(getattr(Base, one))):
        setattr(Adapter, name, _function(plugin, name))
    return {"Plugin": Plugin, "Adapter": Adapter}


def _function(plugin, name):
    around = _plugin.value if name in _PLAIN else _plugin.answer

    def function(self, *arguments):
        if name in _WITH_CALL:
            arguments = (_plugin.call(arguments[0]), *arguments[1:])
        return around(lambda: _result(name, getattr(plugin, name)(*arguments)))

    return function


def _result(name, found):
    if name in _PROGRESS:
        return _plugin.progress(found)
    if name == "probe":
        return _plugin.probed(found)
    if name == "poll_many":
        return [(handle, _plugin.progress(one)) for handle, one in found]
    return found
