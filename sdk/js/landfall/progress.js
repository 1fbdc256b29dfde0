// How far an effect is that outlives its call, and what a probe found of it.

export class Progress {
  constructor(tag, value) {
    Object.assign(this, { tag, value });
  }
}

/** It goes on; the host keeps the handle and polls. */
export const running = (handle, note = "", { percent, pollAfterMs = 1_000 } = {}) =>
  new Progress("running", { handle, note, percent, pollAfterMs });

/** It is over, with these outputs. */
export const done = (outputs = {}) => new Progress("done", outputs);

/** It is over, and did not work; takes a `Failure`. */
export const failed = (failure) => new Progress("failed", failure);

/** The effect did not happen (final once `settleMs` has passed). */
export const absent = () => new Progress("absent");

/** It cannot be told; the host then asks a person. */
export const unknown = (why) => new Progress("unknown", why);
