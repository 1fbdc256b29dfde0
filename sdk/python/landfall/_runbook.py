"""The exports of a runbook: the contract's records outside, the SDK's plain classes inside."""

from wit_world.exports import runbook_run

from . import _plugin
from .runbook import Again, Context, Machine, Runbook, Skip

_OPTIONAL = {"probe": "runbook-probe", "undo": "runbook-undo"}


def exports(module, about):
    """The classes that the component exports, by the names that componentize-py looks for."""
    plugin = _plugin.find(module, Runbook)
    for method, interface in _OPTIONAL.items():
        has, listed = hasattr(plugin, method), interface in about["exports"]
        if has and not listed:
            raise _plugin.Unfit(
                f'{type(plugin).__name__} has `{method}`, so plugin.toml needs `exports = ["{interface}"]` in [build]'
            )
        if listed and not has:
            raise _plugin.Unfit(f"plugin.toml exports `{interface}`, and {type(plugin).__name__} has no `{method}`")

    class Plugin:
        def describe(self):
            return _plugin.value(lambda: _plugin.describe(plugin, about))

    class RunbookRun:
        def effect(self, context):
            return _plugin.value(lambda: _plugin.effect(plugin.effect(_context(context))))

        def run(self, call, context, resume):
            return _plugin.answer(lambda: _outcome(plugin.run(_plugin.call(call), _context(context), resume)))

    class RunbookProbe:
        def probe(self, call, context):
            return _plugin.answer(lambda: _plugin.probed(plugin.probe(_plugin.call(call), _context(context))))

    class RunbookUndo:
        def undo(self, call, context, resume):
            return _plugin.answer(lambda: _outcome(plugin.undo(_plugin.call(call), _context(context), resume)))

    return {one.__name__: one for one in (Plugin, RunbookRun, RunbookProbe, RunbookUndo)}


def _context(context):
    return Context(
        plan=context.plan,
        operation=context.operation,
        kind=_plugin.word(context.kind),
        direction=_plugin.word(context.direction),
        group=context.group,
        phase=context.phase,
        action=context.action,
        machines=[_machine(machine) for machine in context.machines],
        outputs=dict(context.outputs),
        params=dict(context.params),
        ext=dict(context.ext),
    )


def _machine(machine):
    return Machine(
        item=machine.item,
        source_site=machine.source_site,
        target_site=machine.target_site,
        source_machine=machine.source_machine,
        target_machine=machine.target_machine,
        addresses=list(machine.addresses),
        point=machine.point,
        point_time_ms=machine.point_time_ms,
        consistency=_plugin.word(machine.consistency),
        params=dict(machine.params),
        ext=dict(machine.ext),
    )


def _outcome(found):
    if isinstance(found, Again):
        return runbook_run.Outcome_Again(runbook_run.Again(found.after_ms, found.resume, found.note))
    if isinstance(found, Skip):
        return runbook_run.Outcome_Skip(found.reason)
    if found is None or isinstance(found, dict):
        return runbook_run.Outcome_Done(_plugin.pairs(found))
    raise TypeError(f"a runbook gives outputs (a dict, or None), `again(...)` or `skip(...)`, and not {found!r}")
