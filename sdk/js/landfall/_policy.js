// The exports of a policy. Its records are the contract's own (numbers of 64 bits are BigInt).

import * as base from "./_plugin.js";

export function exported(module, about) {
  const plugin = base.find(module, ["choices", "select", "retain"], about);
  return {
    plugin: { describe: () => base.value(() => base.describe(plugin, about)) },
    policy: {
      choices: () => base.value(() => plugin.choices()),
      select: (request) => base.answer(() => plugin.select(request)),
      retain: (request) => base.answer(() => plugin.retain(request)),
    },
  };
}
