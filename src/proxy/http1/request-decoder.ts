import { isAuthority } from "./authority.ts";
import { BodyReader } from "./body-reader.ts";
import { CR, LF } from "./byte-classes.ts";
import { CHUNKED, NO_BODY } from "./framing.ts";
import { HeadFacts } from "./head-facts.ts";
import { HeadReader, NEED_MORE } from "./head-reader.ts";
import type {
  BodyFraming,
  Fields,
  Http1Decoder,
  Http1Limits,
  Http1RequestEvents,
  Http1Violation,
  RequestHead,
} from "./http1-events.ts";
import { type Fault, requestViolation } from "./http1-fault.ts";
import { RequestLineReader } from "./request-line.ts";
import { parseTarget } from "./request-target.ts";

const EMPTY_LINES: Fault = {
  code: "E_HTTP_LINE_END",
  detail: "there is more than one empty line, or a bare CR, before a request",
};
const NO_HOST: Fault = { code: "E_HTTP_HOST", detail: "an HTTP/1.1 request has no Host" };
const MANY_HOSTS: Fault = { code: "E_HTTP_HOST", detail: "there is more than one Host" };
const BAD_HOST: Fault = { code: "E_HTTP_HOST", detail: "Host is no plain host and port" };
const EXPECT: Fault = { code: "E_HTTP_EXPECT", detail: "Expect is not 100-continue" };
const CONNECT_BODY: Fault = { code: "E_HTTP_CONNECT_BODY", detail: "a CONNECT request announces a body" };
const INCOMPLETE: Fault = { code: "E_HTTP_INCOMPLETE", detail: "the stream ended inside a request" };

const SLASH = 47;

/** Decodes requests of one connection: RFC 9112, refusing whatever two programs could read differently. */
export function createRequestDecoder(limits: Http1Limits, events: Http1RequestEvents): Http1Decoder {
  return new RequestDecoder(limits, events);
}

class RequestDecoder implements Http1Decoder {
  /** start: before a message; start-lf: after the CR of an empty line before it. */
  #state: "start" | "start-lf" | "head" | "body" = "start";
  #emptyLineSeen = false;
  #violation: Http1Violation | undefined = undefined;
  readonly #events: Http1RequestEvents;
  readonly #line: RequestLineReader;
  readonly #reader: HeadReader;
  readonly #facts = new HeadFacts();
  readonly #body: BodyReader;

  constructor(limits: Http1Limits, events: Http1RequestEvents) {
    this.#events = events;
    this.#line = new RequestLineReader(limits);
    this.#reader = new HeadReader(limits, this.#line);
    this.#body = new BodyReader(limits, events);
  }

  get atBoundary(): boolean {
    return this.#state === "start" && this.#violation === undefined;
  }

  push(chunk: Uint8Array, from: number): number | Http1Violation {
    if (this.#violation !== undefined) return this.#violation;
    const bytes = chunk instanceof Buffer ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = from;
    if (this.#state === "start" || this.#state === "start-lf") {
      at = this.#skipEmptyLine(bytes, at);
      if (at === -1) return this.#fail(EMPTY_LINES);
    }
    if (at === bytes.length) return at;
    if (this.#state === "head") {
      at = this.#reader.read(bytes, at);
      if (at === NEED_MORE) return bytes.length;
      const fault = at < 0 ? this.#reader.fault : this.#finishHead();
      if (fault !== undefined) return this.#fail(fault);
    }
    if (this.#state === "body") {
      at = this.#body.read(bytes, at);
      if (at === -1) return this.#fail(this.#body.fault ?? INCOMPLETE);
      if (this.#body.isDone) this.#endMessage(this.#body.trailers);
    }
    return at;
  }

  end(): Http1Violation | undefined {
    if (this.#violation === undefined && this.#state !== "start") this.#fail(INCOMPLETE);
    return this.#violation;
  }

  #fail(fault: Fault): Http1Violation {
    this.#violation = requestViolation(fault);
    return this.#violation;
  }

  /** Some old clients send CR LF after a body: RFC 9112 section 2.2 asks to bear one. Returns -1 if there is more. */
  #skipEmptyLine(bytes: Buffer, from: number): number {
    let at = from;
    if (this.#state === "start" && bytes[at] === CR) {
      if (this.#emptyLineSeen) return -1;
      this.#state = "start-lf";
      at++;
    }
    if (at >= bytes.length) return at;
    if (this.#state === "start-lf") {
      if (bytes[at] !== LF) return -1;
      this.#state = "start";
      this.#emptyLineSeen = true;
      at++;
      if (at === bytes.length) return at;
      if (bytes[at] === CR) return -1;
    }
    this.#state = "head";
    return at;
  }

  #endMessage(trailers: Fields | undefined): void {
    this.#state = "start";
    this.#emptyLineSeen = false;
    this.#events.onEnd(trailers);
  }

  /** Judges the complete head as a whole and hands it on. */
  #finishHead(): Fault | undefined {
    const line = this.#line;
    const facts = this.#facts;
    const reader = this.#reader;
    const { minor, method } = line;
    let fields: Fields = reader.takeFields();
    const { text } = reader;
    const fault = facts.read(fields, reader.known, minor) ?? expectFault(facts.expect);
    if (fault !== undefined) return fault;

    const target = text.slice(line.targetStart, line.targetEnd);
    let form: RequestHead["form"] = "origin";
    let scheme: RequestHead["scheme"] = "";
    let authority = "";
    let path = target;
    let query = "";
    if (text.charCodeAt(line.targetStart) !== SLASH || method === "CONNECT") {
      const parsed = parseTarget(method, target);
      if ("code" in parsed) return parsed;
      ({ form, scheme, authority, path, query } = parsed);
    } else if (line.queryStart !== line.targetEnd) {
      path = text.slice(line.targetStart, line.queryStart);
      query = text.slice(line.queryStart, line.targetEnd);
    }
    const hostFault = checkHost(facts, fields, minor);
    if (hostFault !== undefined) return hostFault;
    if (authority === "") authority = facts.hosts === 0 ? "" : (fields.raw[2 * facts.hostIndex + 1] as string);
    else fields = withHost(fields, facts.hostIndex, authority);

    const framing = framingOf(facts, method);
    if (framing === undefined) return CONNECT_BODY;
    const hasBody = framing.kind === "chunked" || (framing.kind === "length" && framing.length > 0);
    const head: RequestHead = {
      version: 1,
      method,
      target,
      form,
      scheme,
      authority,
      path,
      query,
      minor,
      fields,
      framing,
      keepAlive: facts.keepAlive(minor),
      expectContinue: minor === 1 && facts.expect !== undefined,
      upgrade: hasBody ? undefined : facts.upgradeToken(minor),
      connectionNames: facts.connection.names,
    };
    reader.reset();
    this.#events.onHead(head);
    if (!hasBody) this.#endMessage(undefined);
    else {
      this.#state = "body";
      if (framing.kind === "length") this.#body.startLength(framing.length);
      else this.#body.startChunked();
    }
    return undefined;
  }
}

function expectFault(expect: string | undefined): Fault | undefined {
  return expect === undefined || expect === "100-continue" || expect.toLowerCase() === "100-continue"
    ? undefined
    : EXPECT;
}

function checkHost(facts: HeadFacts, fields: Fields, minor: 0 | 1): Fault | undefined {
  if (facts.hosts === 0) return minor === 1 ? NO_HOST : undefined;
  if (facts.hosts > 1) return MANY_HOSTS;
  return isAuthority(fields.raw[2 * facts.hostIndex + 1] as string, false) ? undefined : BAD_HOST;
}

/** The fields with this Host in place of the one at `index`, or of none (-1). They no longer stand in the head's text. */
function withHost({ raw, lower }: Fields, index: number, authority: string): Fields {
  if (index === -1) {
    raw.push("Host", authority);
    lower.push("host");
  } else raw[2 * index + 1] = authority;
  return { raw, lower };
}

/** undefined: a CONNECT with a body, whose end nobody agrees on (RFC 9110 section 9.3.6). */
function framingOf(facts: HeadFacts, method: string): BodyFraming | undefined {
  if (method === "CONNECT") return facts.chunked || facts.length > 0 ? undefined : NO_BODY;
  if (facts.chunked) return CHUNKED;
  return facts.length === -1 ? NO_BODY : { kind: "length", length: facts.length };
}
