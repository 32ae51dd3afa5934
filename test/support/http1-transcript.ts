import type {
  Fields,
  Http1Decoder,
  Http1Limits,
  Http1Violation,
  RequestHead,
  ResponseHead,
} from "../../src/proxy/http1/http1-events.ts";
import { createRequestDecoder } from "../../src/proxy/http1/request-decoder.ts";
import { createResponseDecoder } from "../../src/proxy/http1/response-decoder.ts";

/** What a decoder said of one message. `trailers` and `isComplete` speak of its end. */
export interface SeenMessage<Head> {
  readonly head: Head;
  readonly body: string;
  readonly trailers: readonly string[] | undefined;
  readonly isComplete: boolean;
}

/** All that a decoder said of a stream: equal transcripts mean that nobody could tell the streams' pieces apart. */
export interface Transcript<Head> {
  readonly messages: readonly SeenMessage<Head>[];
  /** Code and status, or undefined for a stream that ended cleanly. */
  readonly violation: { readonly code: string; readonly status: number } | undefined;
}

export const usualLimits: Http1Limits = { headBytes: 61_440, headFields: 100, requestLine: 16_384 };

/** The pieces of `bytes` when cut at these offsets, which may be in any order. */
export function cutAt(bytes: Buffer, offsets: readonly number[]): Buffer[] {
  const cuts = [0, ...offsets.map((offset) => offset % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return cuts.slice(1).map((cut, at) => Buffer.from(bytes.subarray(cuts[at], cut)));
}

export function everyByte(bytes: Buffer): Buffer[] {
  return cutAt(
    bytes,
    Array.from({ length: bytes.length }, (_, at) => at),
  );
}

/** Decodes a stream of requests, then its end. */
export function readRequests(pieces: readonly Buffer[], limits: Http1Limits = usualLimits): Transcript<RequestHead> {
  const recorder = new Recorder<RequestHead>();
  return recorder.run(createRequestDecoder(limits, recorder), pieces, () => undefined);
}

export interface AskedRequest {
  readonly method: string;
  readonly upgrade: string | undefined;
}

/** Decodes a stream of responses to these requests, in order, then its end. */
export function readResponses(
  pieces: readonly Buffer[],
  asked: readonly AskedRequest[],
  limits: Http1Limits = usualLimits,
): Transcript<ResponseHead> {
  const recorder = new Recorder<ResponseHead>();
  const decoder = createResponseDecoder(limits, recorder);
  const waiting = [...asked];
  return recorder.run(decoder, pieces, () => {
    if (!decoder.atBoundary) return;
    const next = waiting.shift();
    if (next !== undefined) decoder.expect(next);
  });
}

class Recorder<Head> {
  readonly #messages: { head: Head; body: string; trailers: readonly string[] | undefined; isComplete: boolean }[] = [];

  onHead(head: Head): void {
    this.#messages.push({ head, body: "", trailers: undefined, isComplete: false });
  }

  onData(chunk: Uint8Array): void {
    if (chunk.length === 0) throw new Error("an empty piece of a body was reported");
    this.#open().body += Buffer.from(chunk).toString("latin1");
  }

  onEnd(trailers: Fields | undefined): void {
    const open = this.#open();
    open.isComplete = true;
    open.trailers = trailers?.raw;
  }

  run(decoder: Http1Decoder, pieces: readonly Buffer[], beforePush: () => void): Transcript<Head> {
    for (const piece of pieces) {
      let from = 0;
      while (from < piece.length) {
        beforePush();
        const next = decoder.push(piece, from);
        if (typeof next !== "number") return this.#broken(decoder, next);
        if (next <= from || next > piece.length)
          throw new Error(`push went from ${from} to ${next} of ${piece.length}`);
        from = next;
      }
    }
    const wasClean = decoder.atBoundary;
    const violation = decoder.end();
    if (violation !== undefined) {
      if (wasClean) throw new Error("the end at a boundary was a violation");
      return this.#broken(decoder, violation);
    }
    return { messages: this.#messages, violation: undefined };
  }

  #open(): { body: string; trailers: readonly string[] | undefined; isComplete: boolean } {
    const last = this.#messages.at(-1);
    if (last === undefined || last.isComplete) throw new Error("an event came outside a message");
    return last;
  }

  #broken(decoder: Http1Decoder, violation: Http1Violation): Transcript<Head> {
    if (decoder.atBoundary) throw new Error("a broken decoder is at no boundary");
    if (decoder.push(Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 0) !== violation) {
      throw new Error("a broken decoder must stay broken");
    }
    return { messages: this.#messages, violation: { code: violation.error.code, status: violation.status } };
  }
}
