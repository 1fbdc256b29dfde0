// Why something did not work, and what may be assumed about an effect. The two answers that the host cannot guess,
// "did it happen?" and "may it happen twice?", are spelled out where a plugin makes them.

/** Throw it to report a failure to the host. Made with `Failure.definite` or `Failure.inDoubt`. */
export class Failure extends Error {
  constructor(code, message, { definite, retryable = false, details = {} }) {
    super(message);
    this.name = "Failure";
    this.code = code;
    this.definite = definite;
    this.retryable = retryable;
    this.details = details;
  }

  /** The effect certainly did not happen. Only this lets the host use a new key for the next try. */
  static definite(code, message, options = {}) {
    return new Failure(code, message, { ...options, definite: true });
  }

  /** The effect may have happened. The host then probes, or asks a person, and never guesses. */
  static inDoubt(code, message, options = {}) {
    return new Failure(code, message, { ...options, definite: false });
  }
}

/** What may be assumed about an effect after a crash between sending it and recording its outcome. */
export const Effect = {
  /** Changes nothing. */
  read: (operation) => ({ operation, class: "read", settleMs: 0 }),
  /** Repeating it changes nothing more. */
  idempotent: (operation) => ({ operation, class: "idempotent", settleMs: 0 }),
  /** The far side drops a second request with the same `call.key`. */
  keyed: (operation) => ({ operation, class: "keyed", settleMs: 0 }),
  /** Whether it happened can be asked by key; after `settleMs`, absent means absent. */
  probeable: (operation, settleMs) => ({ operation, class: "probeable", settleMs }),
  /** None of these: in doubt, a person decides. */
  oneShot: (operation) => ({ operation, class: "one-shot", settleMs: 0 }),
};
