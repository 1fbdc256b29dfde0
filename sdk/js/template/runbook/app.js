// Tells a web address what the plan is doing.

import { Effect, Failure, config, log } from "landfall";
import * as http from "landfall/http";

export default {
  // True only if the far side drops a second request with the same key. If it does not: Effect.oneShot.
  effect: () => Effect.keyed("announce"),

  run(call, context) {
    const url = config.get("url");
    if (!url) throw Failure.definite("not-configured", "no `url` is configured: name the address to tell");
    const answer = http.post(url, {
      headers: { "idempotency-key": call.key },
      json: message(call, context),
      // Less than the call has, so that it can still say that nobody answered.
      timeoutMs: Math.max(call.remainingMs - 500, 1),
    });
    log.info(`${url} answered ${answer.status}`);
    if (answer.status >= 500) {
      throw Failure.inDoubt("server-error", `it answered ${answer.status}`, { retryable: true });
    }
    if (!answer.ok) throw Failure.definite("refused", `it answered ${answer.status}`);
    return { status: answer.status };
  },
};

const message = (call, context) => ({
  job: call.job,
  step: call.step,
  plan: context.plan,
  operation: context.operation,
  action: context.action,
  machines: context.machines.map((machine) => machine.item),
  text: context.params.text ?? "",
});
