// The host's clocks. Never there for policies: they get the time in the request, so that a decision can be replayed.

import * as host from "landfall:plugin/clock";

/** Milliseconds since 1970. */
export const nowMs = () => Number(host.nowMs());

/** Milliseconds since an arbitrary moment; never goes back. */
export const monotonicMs = () => Number(host.monotonicMs());
