// The exports of a runbook: the contract's records outside, plain objects inside.

import * as base from "./_plugin.js";
import { Again, Skip } from "./runbook.js";

const OPTIONAL = { probe: "runbook-probe", undo: "runbook-undo" };

export function exported(module, about) {
  const plugin = base.find(module, ["effect", "run"], about);
  for (const [method, name] of Object.entries(OPTIONAL)) {
    const [has, listed] = [typeof plugin[method] === "function", about.exports.includes(name)];
    if (has && !listed) {
      throw new Error(`${about.entry} has \`${method}\`, so plugin.toml needs \`exports = ["${name}"]\` in [build]`);
    }
    if (listed && !has) throw new Error(`plugin.toml exports \`${name}\`, and ${about.entry} has no \`${method}\``);
  }
  return {
    plugin: { describe: () => base.value(() => base.describe(plugin, about)) },
    runbookRun: {
      effect: (context) => base.value(async () => base.effect(await plugin.effect(inside(context)))),
      run: (call, context, resume) =>
        base.answer(async () => outcome(await plugin.run(base.call(call), inside(context), resume))),
    },
    runbookProbe: {
      probe: (call, context) =>
        base.answer(async () => base.progress(await plugin.probe(base.call(call), inside(context)))),
    },
    runbookUndo: {
      undo: (call, context, resume) =>
        base.answer(async () => outcome(await plugin.undo(base.call(call), inside(context), resume))),
    },
  };
}

const inside = (context) => ({
  ...context,
  machines: context.machines.map((machine) => ({
    ...machine,
    pointTimeMs: machine.pointTimeMs === undefined ? undefined : Number(machine.pointTimeMs),
    params: Object.fromEntries(machine.params),
    ext: Object.fromEntries(machine.ext),
  })),
  outputs: Object.fromEntries(context.outputs),
  params: Object.fromEntries(context.params),
  ext: Object.fromEntries(context.ext),
});

function outcome(found) {
  if (found instanceof Again) return { tag: "again", val: { ...found } };
  if (found instanceof Skip) return { tag: "skip", val: found.reason };
  if (found === undefined || found === null || Object.getPrototypeOf(found) === Object.prototype) {
    return { tag: "done", val: base.pairs(found) };
  }
  throw new TypeError("a runbook gives outputs (an object, or nothing), `again(...)` or `skip(...)`");
}
