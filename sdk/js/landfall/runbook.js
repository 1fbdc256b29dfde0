// Runbooks: the actions that a recovery plan calls before and after its groups.

/**
 * Not over yet: the host calls again in `afterMs` with these bytes (or this text), and holds no instance meanwhile.
 * `note` is shown to whoever follows the job.
 */
export const again = (afterMs, resume = "", note = "") => new Again(afterMs, bytes(resume), note);

/** Not needed, with the reason. */
export const skip = (reason) => new Skip(reason);

export class Again {
  constructor(afterMs, resume, note) {
    Object.assign(this, { afterMs, resume, note });
  }
}

export class Skip {
  constructor(reason) {
    this.reason = reason;
  }
}

function bytes(resume) {
  return typeof resume === "string" ? new TextEncoder().encode(resume) : resume;
}
