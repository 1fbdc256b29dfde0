// Streams of bytes to endpoints that the operator configured and named. The host connects, and does TLS.

import { open as connect } from "landfall:plugin/transport";
import { asBytes, called } from "./_host.js";
import { Failure } from "./failure.js";

const NEWLINE = 10;

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
  /** What came and was not received yet. */
  #rest = new Uint8Array();

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
    // Those calls do not tell that the far side has closed.
    streamed(() => this.#writer.checkWrite());
  }

  /** The bytes that are there, at least one and at most `count`; none at the end. */
  receive(count = Number(READ)) {
    if (this.#rest.length === 0) this.#rest = this.#more();
    const data = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(data.length);
    return data;
  }

  /** Text up to and without the next newline; what there is at the end. */
  receiveLine(longest = Number(READ)) {
    let end = this.#rest.indexOf(NEWLINE);
    while (end < 0 && this.#rest.length <= longest) {
      const more = this.#more();
      if (more.length === 0) return new TextDecoder().decode(this.receive());
      this.#rest = joined(this.#rest, more);
      end = this.#rest.indexOf(NEWLINE);
    }
    if (end < 0 || end > longest) throw Failure.inDoubt("bad-answer", `a line is longer than ${longest} bytes`);
    const line = this.#rest.subarray(0, end);
    this.#rest = this.#rest.subarray(end + 1);
    return new TextDecoder().decode(line);
  }

  /**
   * No message is half way: the host may keep the connection for a later call under the same tag. One with bytes that
   * came and were not received is not kept.
   */
  park() {
    if (this.#rest.length === 0) this.#inner.park();
  }

  #more() {
    this.#reader ??= called(() => this.#inner.reader());
    return streamed(() => this.#reader.blockingRead(READ), new Uint8Array());
  }
}

function joined(one, other) {
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
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
