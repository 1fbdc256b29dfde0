// Hypervisor adapters: one site, in the source role, the target role, or both. The default export has a method for every
// function of `wit/adapter.wit`, in camel case; records are the contract's own.

import { effect } from "./_plugin.js";

/** An `Effect` as `getFeatures` lists it. */
export const facts = effect;
