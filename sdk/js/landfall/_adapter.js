// The exports of an adapter. Its records are large and stay the contract's own (numbers of 64 bits are BigInt, variants
// `{ tag, val }`); calls, progress and failures are the SDK's.

import * as base from "./_plugin.js";

const METHODS = [
  "getFeatures",
  "health",
  "listMachines",
  "listNetworks",
  "preflight",
  "submit",
  "pollMany",
  "probe",
  "cancel",
  "powerState",
  "proveIsolation",
  "changes",
  "read",
  "write",
  "listPoints",
  "listOwned",
];

/** Functions whose first argument is the call, and those that give progress. */
const WITH_CALL = ["submit", "probe", "cancel", "write"];
const PROGRESS = ["submit", "probe", "cancel"];

export function exported(module, about) {
  const plugin = base.find(module, METHODS, about);
  const entry = (name) => {
    const around = name === "getFeatures" ? base.value : base.answer;
    return [
      name,
      (...given) =>
        around(async () => {
          if (WITH_CALL.includes(name)) given[0] = base.call(given[0]);
          const found = await plugin[name](...given);
          if (PROGRESS.includes(name)) return base.progress(found);
          return name === "pollMany" ? found.map(([handle, one]) => [handle, base.progress(one)]) : found;
        }),
    ];
  };
  return {
    plugin: { describe: () => base.value(() => base.describe(plugin, about)) },
    adapter: Object.fromEntries(METHODS.map(entry)),
  };
}
