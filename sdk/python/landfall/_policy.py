"""The exports of a policy."""

from . import _plugin
from .policy import Policy as Base


def exports(module, about):
    """The classes that the component exports, by the names that componentize-py looks for."""
    plugin = _plugin.find(module, Base)

    class Plugin:
        def describe(self):
            return _plugin.value(lambda: _plugin.describe(plugin, about))

    class Policy:
        def choices(self):
            return _plugin.value(plugin.choices)

        def select(self, request):
            return _plugin.answer(lambda: plugin.select(request))

        def retain(self, request):
            return _plugin.answer(lambda: plugin.retain(request))

    return {"Plugin": Plugin, "Policy": Policy}
