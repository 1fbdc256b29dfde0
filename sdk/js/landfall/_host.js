// What the modules for the host's interfaces share.

import { Failure } from "./failure.js";

/** Calls a function of the host; a failure of the contract becomes the SDK's. */
export function called(work) {
  try {
    return work();
  } catch (thrown) {
    const told = thrown.payload;
    if (typeof told?.definite !== "boolean") throw thrown;
    const { code, message, definite, retryable, details } = told;
    throw new Failure(code, message, { definite, retryable, details: Object.fromEntries(details) });
  }
}

/** Bytes of text, and of bytes; undefined stays. */
export const asBytes = (value) => (typeof value === "string" ? new TextEncoder().encode(value) : value);

/** Text of bytes; undefined stays. */
export const asText = (value) => (value === undefined ? undefined : new TextDecoder().decode(value));
