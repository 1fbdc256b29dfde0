// What can happen in a runbook, one thing for each value of `do`.

import { Effect, Failure, absent, again, config, log, skip } from "landfall";
import * as clock from "landfall/clock";
import * as http from "landfall/http";
import * as random from "landfall/random";
import * as session from "landfall/session";
import * as state from "landfall/state";

const things = {
  speak(call, context) {
    console.log("printed by", "javascript");
    console.warn("logged by javascript");
    log.debug("not shown");
    return {
      kind: context.kind,
      item: context.machines[0].item,
      bytes: random.bytes(16).length,
      lots: Math.random() !== Math.random(),
      draw: Math.random(),
      key: call.key !== "",
    };
  },

  remember() {
    state.set("a/1", "one");
    const swapped = [state.swap("a/1", "two", "three"), state.swap("a/1", "one", "deux"), state.swap("a/2", undefined, "x")];
    session.set("login", "token", 60_000);
    return {
      swapped,
      keys: state.keys("a/"),
      value: state.getText("a/1"),
      none: state.get("b"),
      session: session.getText("login"),
      clock: clock.nowMs() > 1_700_000_000_000 && clock.monotonicMs() <= clock.monotonicMs(),
    };
  },

  wait: (call, context, resume) =>
    resume === undefined ? again(50, "é1", "half way") : { resumed: new TextDecoder().decode(resume) },

  needless: () => skip("nothing to do here"),

  async refuse() {
    throw Failure.definite("refused", "javascript says no", { details: { why: 7 } });
  },

  async broken(call, context) {
    return await Promise.resolve(undefined).then((nothing) => nothing.noSuchKey);
  },

  elsewhere: () => ({ status: http.get("http://127.0.0.1:9/forbidden").status }),

  // Granted, and nobody listens.
  nobody: () => ({ status: http.get(config.get("nobody")).status }),

  async post(call, context) {
    const answer = http.post(config.get("url"), {
      headers: { "Idempotency-Key": call.key },
      json: { job: call.job, step: call.step, action: context.action },
      timeoutMs: 5_000,
    });
    const fetched = await fetch(config.get("url"));
    if (fetched.status !== 200) throw new Error(`fetch got ${fetched.status}`);
    const told = { status: answer.status, type: answer.headers["content-type"] };
    try {
      answer.json();
    } catch (error) {
      told.error = error.kind;
    }
    return told;
  },
};

export default {
  findings: { odd: "Something is odd" },
  effect: () => Effect.keyed("trouble"),
  run: (call, context, resume) => things[context.params.do](call, context, resume),
  probe: () => absent(),
};
