// Signatures with keys that never enter a plugin.

import * as host from "landfall:plugin/signing";
import { asBytes, called } from "./_host.js";

/**
 * HMAC of the first message under the named key, of the second under that result, and so on. `hash` is `sha1`, `sha256`
 * or `sha512`. One message signs; several derive a key first, as clouds want it.
 */
export const hmac = (key, hash, ...messages) => called(() => host.hmac(key, hash, messages.map(asBytes)));
