"""Tells a web address what the plan is doing."""

from landfall import Effect, Failure, Runbook, config, http, log


class Announce(Runbook):
    def effect(self, context):
        # True only if the far side drops a second request with the same key. If it does not: Effect.one_shot.
        return Effect.keyed("announce")

    def run(self, call, context, resume):
        url = config.get("url")
        if url is None:
            raise Failure.definite("not-configured", "no `url` is configured: name the address to tell")
        # Less than the call has, so that it can still say that nobody answered.
        timeout_ms = max(call.remaining_ms - 500, 1)
        answer = http.post(
            url, headers={"idempotency-key": call.key}, json=message(call, context), timeout_ms=timeout_ms
        )
        log.info(f"{url} answered {answer.status}")
        if answer.status >= 500:
            raise Failure.in_doubt("server-error", f"it answered {answer.status}", retryable=True)
        if not answer.ok:
            raise Failure.definite("refused", f"it answered {answer.status}")
        return {"status": answer.status}


def message(call, context):
    """A plain function, so that it can be tested without a host."""
    return {
        "job": call.job,
        "step": call.step,
        "plan": context.plan,
        "operation": context.operation,
        "action": context.action,
        "machines": [machine.item for machine in context.machines],
        "text": context.params.get("text", ""),
    }
