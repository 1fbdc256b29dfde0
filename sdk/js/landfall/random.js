// Random bytes of the host.

import * as host from "landfall:plugin/random";

/** At most 4,096 a call, as a Uint8Array. */
export const bytes = (count) => host.bytes(count);
