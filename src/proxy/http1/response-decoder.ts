import { BodyReader } from "./body-reader.ts";
import { CHUNKED, NO_BODY, UNTIL_CLOSE } from "./framing.ts";
import { HeadFacts } from "./head-facts.ts";
import { HeadReader, NEED_MORE } from "./head-reader.ts";
import type {
  BodyFraming,
  Fields,
  Http1Limits,
  Http1ResponseDecoder,
  Http1ResponseEvents,
  Http1Violation,
  ResponseHead,
} from "./http1-events.ts";
import { type Fault, responseError, responseViolation } from "./http1-fault.ts";
import { StatusLineReader } from "./status-line.ts";

const INCOMPLETE: Fault = { code: "E_HTTP_INCOMPLETE", detail: "the stream ended before the end of the response" };
/** Interim responses to one request. An app that sends more keeps us busy without ever answering. */
const INTERIM_RESPONSES = 100;

/** Decodes the responses of one upstream connection, each to the request last told to expect(). */
export function createResponseDecoder(limits: Http1Limits, events: Http1ResponseEvents): Http1ResponseDecoder {
  return new ResponseDecoder(limits, events);
}

class ResponseDecoder implements Http1ResponseDecoder {
  /** idle: no response is awaited. */
  #state: "idle" | "head" | "body" = "idle";
  #method = "";
  #upgrade: string | undefined = undefined;
  #interim = 0;
  #violation: Http1Violation | undefined = undefined;
  readonly #events: Http1ResponseEvents;
  readonly #line: StatusLineReader;
  readonly #reader: HeadReader;
  readonly #facts = new HeadFacts();
  readonly #body: BodyReader;

  constructor(limits: Http1Limits, events: Http1ResponseEvents) {
    this.#events = events;
    this.#line = new StatusLineReader(limits);
    this.#reader = new HeadReader(limits, this.#line);
    this.#body = new BodyReader(limits, events);
  }

  get atBoundary(): boolean {
    return this.#state === "idle" && this.#violation === undefined;
  }

  expect(request: { readonly method: string; readonly upgrade: string | undefined }): void {
    if (this.#state !== "idle") throw new TypeError("the previous response is not complete");
    this.#state = "head";
    this.#method = request.method;
    this.#upgrade = request.upgrade;
    this.#interim = 0;
  }

  push(chunk: Uint8Array, from: number): number | Http1Violation {
    if (this.#violation !== undefined) return this.#violation;
    const bytes = chunk instanceof Buffer ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = from;
    if (at === bytes.length) return at;
    if (this.#state === "idle") {
      return this.#die(responseError("E_HTTP_RESPONSE_UNEXPECTED", "bytes that answer no request"));
    }
    while (this.#state === "head" && at < bytes.length) {
      at = this.#reader.read(bytes, at);
      if (at === NEED_MORE) return bytes.length;
      if (at < 0) return this.#fail(this.#reader.fault ?? INCOMPLETE);
      const violation = this.#finishHead();
      if (violation !== undefined) return this.#die(violation);
    }
    if (this.#state === "body") {
      at = this.#body.read(bytes, at);
      if (at === -1) return this.#fail(this.#body.fault ?? INCOMPLETE);
      if (this.#body.isDone) this.#endMessage(this.#body.trailers);
    }
    return at;
  }

  end(): Http1Violation | undefined {
    if (this.#violation !== undefined || this.#state === "idle") return this.#violation;
    if (this.#state === "body" && this.#body.isUntilClose) {
      this.#body.finish();
      this.#endMessage(undefined);
      return undefined;
    }
    return this.#fail(INCOMPLETE);
  }

  #fail(fault: Fault): Http1Violation {
    return this.#die(responseViolation(fault));
  }

  #die(violation: Http1Violation): Http1Violation {
    this.#violation = violation;
    return violation;
  }

  #endMessage(trailers: Fields | undefined): void {
    this.#state = "idle";
    this.#events.onEnd(trailers);
  }

  #finishHead(): Http1Violation | undefined {
    const line = this.#line;
    const facts = this.#facts;
    const reader = this.#reader;
    const { minor, status } = line;
    const fields = reader.takeFields();
    const fault = facts.read(fields, reader.known, minor);
    if (fault !== undefined) return responseViolation(fault);
    const upgrade = status === 101 ? facts.upgradeToken(minor) : undefined;
    if (status === 101 && (upgrade === undefined || upgrade !== this.#upgrade)) {
      return responseError("E_HTTP_RESPONSE_UPGRADE", "101 for a protocol that was not asked for");
    }
    const isInterim = status < 200 && status !== 101;
    if (isInterim && ++this.#interim > INTERIM_RESPONSES) {
      return responseError("E_HTTP_RESPONSE_UNEXPECTED", "too many interim responses");
    }
    const framing = this.#framing(status);
    const head: ResponseHead = {
      version: 1,
      status,
      reason: reader.text.slice(line.reasonStart, line.reasonEnd),
      minor,
      fields,
      framing,
      declaredLength: facts.length === -1 ? undefined : facts.length,
      keepAlive: framing.kind !== "close" && facts.keepAlive(minor),
      upgrade,
      connectionNames: facts.connection.names,
    };
    reader.reset();
    this.#events.onHead(head);
    if (!isInterim) this.#startBody(framing);
    return undefined;
  }

  /** RFC 9112 section 6.3, in its order. */
  #framing(status: number): BodyFraming {
    const facts = this.#facts;
    if (this.#method === "HEAD" || status < 200 || status === 204 || status === 304) return NO_BODY;
    if (this.#method === "CONNECT" && status < 300) return NO_BODY;
    if (facts.chunked) return CHUNKED;
    return facts.length === -1 ? UNTIL_CLOSE : { kind: "length", length: facts.length };
  }

  #startBody(framing: BodyFraming): void {
    switch (framing.kind) {
      case "none":
        this.#endMessage(undefined);
        return;
      case "length":
        if (framing.length === 0) {
          this.#endMessage(undefined);
          return;
        }
        this.#body.startLength(framing.length);
        break;
      case "chunked":
        this.#body.startChunked();
        break;
      case "close":
        this.#body.startUntilClose();
        break;
    }
    this.#state = "body";
  }
}
