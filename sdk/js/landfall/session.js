// Memory of the host for what may be forgotten at any time: a login, a cached lookup. Per site or runbook, and per version
// of the plugin.

import * as host from "landfall:plugin/session";
import { asBytes, asText, called } from "./_host.js";

/** The value as a Uint8Array, or undefined. */
export const get = (key) => host.get(key);

/** A value that is text; what is not UTF-8 is replaced. */
export const getText = (key, otherwise) => asText(get(key)) ?? otherwise;

/** Kept for `ttlMs`, or until the host forgets it; takes bytes or text. */
export const set = (key, value, ttlMs) =>
  called(() => host.set(key, asBytes(value), ttlMs === undefined ? undefined : BigInt(ttlMs)));

/** Forgets the value. */
export const remove = (key) => host["delete"](key);
