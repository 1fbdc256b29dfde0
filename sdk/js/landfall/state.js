// Durable values by key, for what must survive the host's restart: a cursor, a change number. An adapter has one set for
// each site, a runbook has one; other versions of the same plugin see it too. Not part of a job: what a step decides by
// belongs into its outputs.

import * as host from "landfall:plugin/state";
import { asBytes, asText, called } from "./_host.js";

/** The value as a Uint8Array, or undefined. */
export const get = (key) => called(() => host.get(key));

/** A value that is text; what is not UTF-8 is replaced. */
export const getText = (key, otherwise) => asText(get(key)) ?? otherwise;

/** Durable when it returns; takes bytes or text. Beyond the operator's quota it fails with `quota-exceeded`. */
export const set = (key, value) => called(() => host.set(key, asBytes(value)));

/** Forgets the value. */
export const remove = (key) => called(() => host["delete"](key));

/** Replaces only what is as expected (undefined: not there), and says whether it did. Calls run beside each other. */
export const swap = (key, expected, value) => called(() => host.swap(key, asBytes(expected), asBytes(value)));

/** In order, at most 1,000; `after` goes on behind a key. */
export const keys = (prefix = "", after = undefined) => called(() => host.keys(prefix, after));
