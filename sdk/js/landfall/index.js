/**
 * Write Landfall plugins in JavaScript or TypeScript.
 *
 * A plugin is a WebAssembly component. It has no operating system below it: whatever it can reach is a module of this
 * package (`landfall/http`, `landfall/clock`, `landfall/random`; `config` and `log` are here), and works only if
 * `plugin.toml` asks for it and the operator grants it. The file that `entry` names exports by default an object with
 * the methods of its kind; each may be `async`.
 *
 *     import { Effect, Failure, config } from "landfall";
 *     import * as http from "landfall/http";
 *
 *     export default {
 *       // The pager drops a second page with the same key, so the host may send it again after a crash.
 *       effect: (context) => Effect.keyed("page"),
 *
 *       run(call, context, resume) {
 *         const answer = http.post(config.get("url"), {
 *           headers: { "idempotency-key": call.key },
 *           json: { plan: context.plan },
 *         });
 *         if (answer.status >= 500) throw Failure.inDoubt("server-error", `the pager answered ${answer.status}`);
 *         if (!answer.ok) throw Failure.definite("refused", `the pager answered ${answer.status}`);
 *         return { page: answer.text() };
 *       },
 *     };
 *
 * `run` gives its outputs (an object, or nothing), `again(...)` or `skip(...)`, or throws a `Failure`. Anything else
 * that is thrown counts as in doubt. Never sleep: give back `again(...)`, and no instance waits meanwhile. Every call
 * gets a fresh instance: nothing in memory survives to the next one. Two more methods are optional, and `exports` of
 * [build] in plugin.toml names those that there are: `probe(call, context)` ("runbook-probe") and
 * `undo(call, context, resume)` ("runbook-undo").
 */

export * as config from "./config.js";
export { Effect, Failure } from "./failure.js";
export * as log from "./log.js";
export { absent, done, failed, running, unknown } from "./progress.js";
export { again, skip } from "./runbook.js";
