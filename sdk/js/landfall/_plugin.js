// What the exports of every kind share: checking the author's object, saying who it is, and turning what is thrown into
// the contract's failures.

import { Failure } from "./failure.js";
import * as log from "./log.js";
import { Progress } from "./progress.js";

/** Characters of an exception's text in the failure that the host journals; the log has the stack. */
const LONGEST_MESSAGE = 2_000;

/** The author's plugin: an object, or a class without arguments. */
export function find(module, methods, about) {
  let plugin = module.default;
  if (typeof plugin === "function") plugin = new plugin();
  if (plugin === null || typeof plugin !== "object") {
    throw new Error(`${about.entry} must export its plugin: \`export default { ... }\` with ${methods.join(", ")}`);
  }
  const missing = methods.filter((method) => typeof plugin[method] !== "function");
  if (missing.length > 0) throw new Error(`the default export of ${about.entry} lacks ${missing.join(", ")}`);
  return plugin;
}

/** The answer to the host's `describe`; `about` is what the manifest says. */
export function describe(plugin, { name, version, kind, summary }) {
  const { configSchema, findings } = plugin;
  return { name, version, kind, summary, configSchema, findings: pairs(findings), ext: [] };
}

/** An object as the contract has it, text by name. What is missing is left out; what is no text is JSON. */
export const pairs = (values) =>
  Object.entries(values ?? {})
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [name, typeof value === "string" ? value : json(value)]);

const json = (value) => JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner));

/** A `Failure` as the contract has it. */
export const failure = ({ code, message, retryable, definite, details }) => ({
  code,
  message,
  retryable,
  definite,
  details: pairs(details),
});

/** The result of an exported function that may fail. Anything thrown that is no failure leaves the effect in doubt. */
export async function answer(work) {
  try {
    return await work();
  } catch (thrown) {
    let known = thrown;
    if (!(thrown instanceof Failure)) {
      log.exception(thrown);
      known = Failure.inDoubt("uncaught-exception", `${thrown}`.slice(0, LONGEST_MESSAGE) + place(thrown));
    }
    throw Object.assign(new Error(known.message), { payload: failure(known) });
  }
}

/** The result of an exported function that cannot fail: what is thrown is a trap, with its text in the log. */
export async function value(work) {
  try {
    return await work();
  } catch (thrown) {
    log.exception(thrown);
    throw thrown;
  }
}

/** Where it was thrown, as the first line of the stack says it. */
function place(thrown) {
  const line = thrown instanceof Error && thrown.stack ? thrown.stack.split("\n")[0] : "";
  return line ? ` (${line})` : "";
}

/** The contract's call, with numbers and objects where JavaScript has them. */
export const call = (call) => ({
  ...call,
  epoch: Number(call.epoch),
  remainingMs: Number(call.remainingMs),
  ext: Object.fromEntries(call.ext),
});

/** An `Effect` as the contract has it. */
export const effect = ({ operation, class: kind, settleMs }) => ({
  operation,
  class: kind,
  settleMs: BigInt(settleMs),
});

/** `running`, `done`, `failed`, `absent` and `unknown` as the contract has them; the contract's own stays. */
export function progress(found) {
  if (!(found instanceof Progress)) return found;
  switch (found.tag) {
    case "done":
      return { tag: "done", val: pairs(found.value) };
    case "failed":
      return { tag: "failed", val: failure(found.value) };
    default:
      return { tag: found.tag, val: found.value };
  }
}
