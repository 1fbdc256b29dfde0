// Lines for the host's log, which adds the plugin's name, version and digest. Lines beyond the host's bound for one call
// are counted and dropped there. `console.log` and its siblings come here too.

import { write } from "landfall:plugin/log";

/** Lines of a stack that are logged: the first ones say where it happened, and the host bounds the lines of a call. */
const STACK_LINES = 40;

export const trace = (...words) => write("trace", text(words));
export const debug = (...words) => write("debug", text(words));
export const info = (...words) => write("info", text(words));
export const warn = (...words) => write("warn", text(words));
export const error = (...words) => write("error", text(words));

/** Logs what was thrown: its stack, a line each, and at last what it says. */
export function exception(thrown) {
  const stack = thrown instanceof Error && thrown.stack ? thrown.stack.trimEnd().split("\n") : [];
  for (const line of stack.slice(0, STACK_LINES)) error(`  at ${line}`);
  error(String(thrown));
}

function text(words) {
  return words.map((word) => (typeof word === "string" ? word : shown(word))).join(" ");
}

function shown(value) {
  if (value instanceof Error) return String(value);
  try {
    return JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner)) ?? String(value);
  } catch {
    return String(value);
  }
}

/** Called once, when the component is built. */
export function takeOver() {
  Object.assign(console, { trace, debug, log: info, info, warn, error });
}
