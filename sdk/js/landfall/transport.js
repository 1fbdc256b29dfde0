// Streams of bytes to endpoints that the operator configured and named. The host connects, and does TLS.

import { open as connect } from "landfall:plugin/transport";
import { asBytes, called } from "./_host.js";
import { Failure } from "./failure.js";

/** How much one read asks for, and the most that one write takes. */
const READ = 65_536n;
const WRITE = 4_096;

/** A warm connection that was parked under this tag, else a new one. `port`: for endpoints with a range of ports. */
export const open = (endpoint, { port, tag = "" } = {}) => new Connection(called(() => connect(endpoint, port, tag)));

/** A stream in both directions. */
export class Connection {
  #inner;
  #reader;
  #writer;

  constructor(inner) {
    this.#inner = inner;
    /** It was parked by an earlier call: whatever was agreed on it then still holds. */
    this.warm = inner.warm();
  }

  /** Writes bytes or text, all of it. */
  send(data) {
    this.#writer ??= called(() => this.#inner.writer());
    const bytes = asBytes(data);
    for (let at = 0; at < bytes.length; at += WRITE) {
      streamed(() => this.#writer.blockingWriteAndFlush(bytes.subarray(at, at + WRITE)));
    }
  }

  /** The bytes that are there, at least one; none at the end. */
  receive() {
    this.#reader ??= called(() => this.#inner.reader());
    return streamed(() => this.#reader.blockingRead(READ), new Uint8Array());
  }

  /** No message is half way: the host may keep the connection for a later call under the same tag. */
  park() {
    this.#inner.park();
  }
}

function streamed(work, atEnd) {
  try {
    return work();
  } catch (thrown) {
    if (thrown.payload?.tag === "closed") {
      if (atEnd) return atEnd;
      throw Failure.inDoubt("closed", "the far side closed the connection", { retryable: true });
    }
    if (thrown.payload?.tag !== "last-operation-failed") throw thrown;
    throw Failure.inDoubt("broken-connection", thrown.payload.val.toDebugString(), { retryable: true });
  }
}
