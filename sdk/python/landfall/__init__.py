"""Write Landfall plugins in Python.

A plugin is a WebAssembly component. It has no operating system below it: whatever it can reach is a module of this
package (`config`, `log`, `http`, `clock`, `random`), and works only if `plugin.toml` asks for it and the operator
grants it.

    from landfall import Effect, Failure, Runbook, config, http

    class PageOncall(Runbook):
        def effect(self, context):
            # The pager drops a second page with the same key, so the host may send it again after a crash.
            return Effect.keyed("page")

        def run(self, call, context, resume):
            answer = http.post(config.get("url"), headers={"idempotency-key": call.key}, json={"plan": context.plan})
            if answer.status >= 500:
                raise Failure.in_doubt("server-error", f"the pager answered {answer.status}", retryable=True)
            if not answer.ok:
                raise Failure.definite("refused", f"the pager answered {answer.status}")
            return {"page": answer.text()}

What to get right:

- Say what an effect is (`Effect`) and whether a failure is definite (`Failure`): the host decides by it what it may do
  after a crash. An exception that is no `Failure` counts as in doubt.
- Never sleep. Give back `again(...)` and the host calls again later; no instance waits meanwhile.
- Import at the top of the file. Modules are loaded once, when the component is built; there are no files at run time.
- Every call gets a fresh instance, as it was after those imports: nothing in memory survives to the next call.
"""

from . import config, log
from .failure import Effect, Failure
from .progress import absent, done, failed, running, unknown
from .runbook import Call, Context, Machine, Runbook, again, skip

__all__ = [
    "Call", "Context", "Effect", "Failure", "Machine", "Runbook", "absent", "again", "config", "done", "failed", "log",
    "running", "skip", "unknown",
]
