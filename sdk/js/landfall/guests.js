// Programs inside the machines that this call is about, run by the adapter of the machine's site.

import * as host from "landfall:plugin/guests";
import { asBytes, called } from "./_host.js";

/**
 * Runs a program at the `source` or `target` machine of an item and waits for its end. Gives `code`, `stdout`, `stderr`
 * (bytes) and `truncated`. Repeated with the same command in one step, it carries the same key; start long work in the
 * background and ask for it in a later call.
 */
export const exec = (item, side, program, args = [], { environment = {}, input = "", timeoutMs = 30_000 } = {}) =>
  called(() =>
    host.exec(item, side, {
      program,
      arguments: args,
      environment: Object.entries(environment),
      input: asBytes(input),
      timeoutMs,
    }),
  );
