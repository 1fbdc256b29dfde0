// What can happen in a runbook, one thing for each value of `do`.

import { Effect, Failure, absent, again, config, log, skip } from "landfall";
import * as clock from "landfall/clock";
import * as guests from "landfall/guests";
import * as http from "landfall/http";
import * as random from "landfall/random";
import * as session from "landfall/session";
import * as signing from "landfall/signing";
import * as state from "landfall/state";
import * as transport from "landfall/transport";

type Outputs = Record<string, unknown>;

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

const things: Record<string, (call: any, context: any, resume?: Uint8Array) => unknown> = {
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

  // What follows is tried by `landfall plugin test`, with the cases in `cases`.

  talk(call, context): Outputs {
    const began = clock.nowMs();
    const { port, tag } = context.params;
    const line = transport.open("manager", { port: port && Number(port), tag });
    let greeting = "";
    if (!line.warm) {
      greeting = line.receiveLine();
      line.send("LOGIN\n");
      if (line.receiveLine() !== "ok") throw Failure.inDoubt("hung-up", "the manager did not say ok");
    }
    line.send(`GET ${call.key}\n`);
    const answer = line.receiveLine();
    line.park();
    return { warm: line.warm, greeting, answer, took: clock.nowMs() - began };
  },

  binary(): Outputs {
    const line = transport.open("manager");
    line.send(Uint8Array.from({ length: 10_000 }, (_, at) => (at % 2 === 0 ? 0 : 0xff)));
    let answer = "";
    for (let more = line.receive(); more.length > 0; more = line.receive()) answer += hex(more);
    return { answer };
  },

  sign: (): Outputs => ({
    signed: hex(signing.hmac("key", "sha256", "what do ya want for nothing?")),
    derived: hex(signing.hmac("key", "sha1", "a", new TextEncoder().encode("b"))),
  }),

  whisper(): Outputs {
    const headers = { authorization: "Bearer {{secret:key}}" };
    return { answer: http.post(config.get("url"), { headers, body: "psst" }).text() };
  },

  execute(call, context): Outputs {
    const options = { environment: { PGDATA: "/data" }, input: "yes" };
    const exit = guests.exec(context.params.item, "target", "pg_ctl", ["promote"], options);
    return { code: exit.code, stdout: text(exit.stdout), stderr: text(exit.stderr), truncated: exit.truncated };
  },

  keep(): Outputs {
    const cursor = Number(state.getText("cursor", "0"));
    state.set("cursor", String(cursor + 1));
    state.remove("old");
    return { cursor };
  },

  login(): Outputs {
    const found = session.getText("login", "none");
    session.set("login", "token", 60_000);
    return { found };
  },

  hog(): Outputs {
    const kept: Uint8Array[] = [];
    for (;;) kept.push(new Uint8Array(1 << 20).fill(1));
  },

  async nap(call, context): Promise<Outputs> {
    const began = Date.now();
    await new Promise((done) => setTimeout(done, Number(context.params.seconds) * 1_000));
    return { slept: Math.round((Date.now() - began) / 1_000) };
  },

  now: (): Outputs => ({ now: clock.nowMs() }),
};

export default {
  findings: { odd: "Something is odd" },
  effect: () => Effect.keyed("trouble"),
  run: (call, context, resume) => things[context.params.do](call, context, resume),
  probe: () => absent(),
};
