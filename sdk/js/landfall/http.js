// A small HTTP client over `wasi:http`, reaching only what the operator granted. Calls block until the answer begins.
//
// Credentials are not its business: the host adds them to a granted request, so no secret ever enters a plugin.
// Redirects are not followed. What it must never do is hide whether a request was sent: see `HttpError`. (`fetch` works
// as well, and cannot tell.)

import { handle } from "wasi:http/outgoing-handler";
import { Fields, OutgoingBody, OutgoingRequest, RequestOptions } from "wasi:http/types";
import { Failure } from "./failure.js";

/** What a body is read to at most. Answers to plugins are small documents, and a guest's memory is bounded. */
export const MAX_BODY = 4 << 20;

/** How much one read or splice asks for. */
const SLICE = 65_536n;

const METHODS = ["get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"];

/** Codes that can come only before the first byte has left. Whatever else it is, it may have been sent. */
const INVALID = [
  "HTTP-request-method-invalid",
  "HTTP-request-URI-invalid",
  "HTTP-request-URI-too-long",
  "HTTP-request-header-section-size",
  "HTTP-request-header-size",
  "HTTP-request-length-required",
];
const NOT_SENT = [
  "DNS-timeout",
  "DNS-error",
  "destination-not-found",
  "destination-unavailable",
  "destination-IP-prohibited",
  "destination-IP-unroutable",
  "connection-refused",
  "connection-timeout",
  "connection-limit-reached",
  "TLS-certificate-error",
];

/** Code, words, definite, retryable of every kind. */
const KINDS = {
  invalid: ["invalid-request", "the request is invalid: ", true, false],
  denied: ["denied", "the host refused the request: no grant covers it", true, false],
  "not-sent": ["unreachable", "no connection: ", true, true],
  "in-doubt": ["no-answer", "no answer: ", false, true],
  unreadable: ["unreadable-answer", "the answer could not be read: ", false, true],
};

/**
 * Why there is no answer. A failure, so a plugin that does not catch it has reported it. `kind` is `invalid` (the
 * request cannot be made), `denied` (no grant covers it), `not-sent` (no connection came about), `in-doubt` (it was
 * sent, or may have been) or `unreadable` (the answer's body was cut off or too long).
 */
export class HttpError extends Failure {
  constructor(kind, why = "") {
    const [code, words, definite, retryable] = KINDS[kind];
    super(code, words + why, { definite, retryable });
    this.name = "HttpError";
    this.kind = kind;
  }

  /** The far side certainly saw nothing. */
  get notSent() {
    return this.definite;
  }
}

/** A GET request; see `request`. */
export const get = (url, options) => request("GET", url, options);

/** A POST request; see `request`. */
export const post = (url, options) => request("POST", url, options);

/**
 * Sends a request and waits until the answer begins. Any status is an answer. `body` is a Uint8Array or text, or a
 * buffer of the host, whose bytes then never enter the plugin's memory; `json` is anything that can be written as JSON.
 * `timeoutMs` is how long to wait until the answer begins, the connection included; the host's limit for the whole call
 * holds as well.
 */
export function request(method, url, { headers = {}, body, json, timeoutMs } = {}) {
  const all = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]));
  if (json !== undefined) {
    body = JSON.stringify(json);
    if (!all.has("content-type")) all.set("content-type", "application/json");
  }
  if (typeof body === "string") body = new TextEncoder().encode(body);
  const length = body === undefined ? 0n : body instanceof Uint8Array ? BigInt(body.length) : body.len();
  // Without it a body would be chunked, which small servers do not read.
  if (length > 0n || !["GET", "HEAD"].includes(method)) all.set("content-length", String(length));
  const outgoing = outgoingRequest(method, url, all);
  const out = outgoing.body();
  let pending;
  try {
    pending = handle(outgoing, requestOptions(timeoutMs));
  } catch (thrown) {
    throw fromCode(thrown.payload);
  }
  // A refused or broken request closes the body's stream, and then only the answer says why.
  const broken = send(out, body, length);
  const answer = receive(pending);
  if (answer?.tag === "ok") return new Response(answer.val);
  if (answer) throw fromCode(answer.val);
  throw new HttpError("in-doubt", broken ? `sending the body failed: ${broken}` : "the host lost the answer");
}

/** An answer. Its body can be read once. */
export class Response {
  #inner;

  constructor(inner) {
    this.#inner = inner;
    /** The status code. */
    this.status = inner.status();
    /** The first value of every header, by its name in lower case. */
    this.headers = {};
    for (const [name, value] of inner.headers().entries()) {
      this.headers[name.toLowerCase()] ??= new TextDecoder().decode(value);
    }
  }

  /** The status is one of 200 to 299. */
  get ok() {
    return this.status >= 200 && this.status < 300;
  }

  /** The body, at most `MAX_BODY`. */
  bytes() {
    const parts = [];
    let length = 0;
    const { body, stream } = this.#open();
    for (;;) {
      let part;
      try {
        part = stream.blockingRead(SLICE);
      } catch (thrown) {
        if (thrown.payload?.tag === "closed") break;
        throw new HttpError("unreadable", words(thrown));
      }
      length += part.length;
      if (length > MAX_BODY) throw new HttpError("unreadable", `it is longer than ${MAX_BODY} bytes`);
      parts.push(part);
    }
    close(stream, body);
    const whole = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  /** The body as text; what is not UTF-8 is replaced. */
  text() {
    return new TextDecoder().decode(this.bytes());
  }

  /** The body as JSON. */
  json() {
    const text = this.text();
    try {
      return JSON.parse(text);
    } catch (thrown) {
      throw new HttpError("unreadable", `it is no JSON: ${thrown.message}`);
    }
  }

  /** Appends the body to a buffer of the host and gives its length. The bytes never enter the plugin's memory. */
  intoBuffer(buffer) {
    const before = buffer.len();
    const { body, stream } = this.#open();
    const writer = buffer.writer();
    const broken = splice(writer, stream);
    close(writer, stream, body);
    if (broken) throw new HttpError("unreadable", broken);
    return Number(buffer.len() - before);
  }

  #open() {
    try {
      const body = this.#inner.consume();
      return { body, stream: body.stream() };
    } catch {
      throw new HttpError("unreadable", "its body was read before");
    }
  }
}

function outgoingRequest(method, url, headers) {
  const { scheme, authority, path } = split(url);
  const fields = new Fields();
  for (const [name, value] of headers) {
    try {
      fields.append(name, new TextEncoder().encode(value));
    } catch {
      throw new HttpError("invalid", `the header \`${name}\` is not allowed or holds a forbidden character`);
    }
  }
  const outgoing = new OutgoingRequest(fields);
  const name = method.toLowerCase();
  try {
    outgoing.setMethod(METHODS.includes(name) ? { tag: name } : { tag: "other", val: method });
    outgoing.setScheme({ tag: scheme === "https" ? "HTTPS" : "HTTP" });
    outgoing.setAuthority(authority);
    outgoing.setPathWithQuery(path);
  } catch {
    throw new HttpError("invalid", `the host takes no such request to ${authority}`);
  }
  return outgoing;
}

function split(url) {
  // The text itself stays out of the error: it may hold a token, and errors are shown and stored.
  const invalid = (why) => new HttpError("invalid", why);
  const [, scheme, authority, path] = /^(https?):\/\/([^/?#]*)([^#]*)/i.exec(url) ?? [];
  if (/[\u0000-\u0020\u007f]/.test(url)) throw invalid("a URL holds no spaces or control characters; encode them");
  if (scheme === undefined) throw invalid("a URL begins with http:// or https://");
  if (!authority) throw invalid("the URL names no host");
  if (authority.includes("@")) throw invalid("credentials do not belong into a URL; the host adds them");
  return { scheme: scheme.toLowerCase(), authority, path: path.startsWith("/") ? path : `/${path}` };
}

function requestOptions(timeoutMs) {
  if (timeoutMs === undefined) return undefined;
  const options = new RequestOptions();
  // The host adds the two up.
  const nanoseconds = (BigInt(Math.round(timeoutMs)) * 1_000_000n) / 2n;
  for (const set of ["setConnectTimeout", "setFirstByteTimeout"]) {
    try {
      options[set](nanoseconds);
    } catch {
      // A host without such a timeout; its limit for the whole call holds in any case.
    }
  }
  return options;
}

/** Why the body was not sent whole, or undefined. Such a one is dropped unfinished, so that it passes for no whole one. */
function send(out, body, length) {
  try {
    if (length > 0n) {
      const stream = out.write();
      if (body instanceof Uint8Array) {
        writeAll(stream, body);
      } else {
        const reader = body.reader();
        const broken = splice(stream, reader);
        close(reader);
        if (broken) {
          close(stream, out);
          return broken;
        }
      }
      close(stream);
    }
    OutgoingBody.finish(out, undefined);
  } catch (thrown) {
    return words(thrown);
  }
}

function writeAll(stream, bytes) {
  const ready = stream.subscribe();
  let at = 0;
  while (at < bytes.length) {
    const allowed = Number(stream.checkWrite());
    if (allowed === 0) {
      ready.block();
      continue;
    }
    stream.write(bytes.subarray(at, at + allowed));
    at += allowed;
  }
  stream.blockingFlush();
  close(ready);
}

function receive(pending) {
  const ready = pending.subscribe();
  ready.block();
  close(ready);
  const outer = pending.get();
  return outer?.tag === "ok" ? outer.val : undefined;
}

/**
 * Moves bytes until the source ends; what went wrong, or undefined. `splice` reports the end of either side the same
 * way, so the source is asked once more: a destination that was full before then must not pass for success.
 */
function splice(to, from) {
  for (;;) {
    try {
      to.blockingSplice(from, SLICE);
    } catch (thrown) {
      if (thrown.payload?.tag !== "closed") return words(thrown);
      break;
    }
  }
  try {
    from.blockingRead(1n);
    return "the destination takes no more";
  } catch (thrown) {
    if (thrown.payload?.tag !== "closed") return words(thrown);
  }
  try {
    to.blockingFlush();
  } catch (thrown) {
    // A destination that is now exactly full is closed too, and has everything.
    if (thrown.payload?.tag !== "closed") return words(thrown);
  }
}

/** Resources go in this order: a stream belongs to its body. */
function close(...resources) {
  for (const resource of resources) resource[Symbol.dispose]?.();
}

function words(thrown) {
  const payload = thrown.payload;
  if (payload?.tag === "last-operation-failed") return payload.val.toDebugString();
  if (payload?.tag === "closed") return "the stream was closed";
  if (payload?.tag) return fromCode(payload).message;
  throw thrown;
}

function fromCode(code) {
  if (code.tag === "HTTP-request-denied") return new HttpError("denied");
  const kind = INVALID.includes(code.tag) ? "invalid" : NOT_SENT.includes(code.tag) ? "not-sent" : "in-doubt";
  let why = code.tag.replaceAll("-", " ").toLowerCase();
  if (code.tag === "internal-error" && code.val) why = code.val;
  if (code.tag === "DNS-error" && code.val?.rcode) why += `: ${code.val.rcode}`;
  return new HttpError(kind, why);
}
