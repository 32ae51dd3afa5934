import { CR, HEX_VALUE, LF, VALUE_BYTE } from "./byte-classes.ts";
import { HeadReader, NEED_MORE } from "./head-reader.ts";
import type { Fields, Http1Limits } from "./http1-events.ts";
import type { Fault } from "./http1-fault.ts";
import { mayBeTrailer } from "./trailer-names.ts";

/** Chunk extensions of one message together, bytes. */
const EXTENSION_BYTES = 4096;
/** Hexadecimal digits of a chunk size, leading zeros included. */
const SIZE_DIGITS = 16;

const SIZE: Fault = { code: "E_HTTP_CHUNK", detail: "a chunk size is not plain hexadecimal digits below 2^53" };
const CHUNK_END: Fault = { code: "E_HTTP_CHUNK", detail: "a chunk's size line or data does not end in CR LF" };
const EXTENSION: Fault = { code: "E_HTTP_CHUNK", detail: "a chunk extension holds a control character" };
const EXTENSIONS_TOO_LARGE: Fault = {
  code: "E_HTTP_CHUNK_EXTENSIONS",
  detail: "there are more than 4 KiB of chunk extensions",
};

type State =
  | "length"
  | "close"
  | "size-first"
  | "size"
  | "extension"
  | "size-lf"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailers"
  | "done";

/** Where body bytes go. */
export interface BodySink {
  onData(chunk: Uint8Array): void;
}

const SEMICOLON = 59;

/** Reads message bodies, one after the other: of known length, chunked (RFC 9112 section 7.1), until the end of the stream. */
export class BodyReader {
  /** Why `read` returned -1. */
  fault: Fault | undefined = undefined;
  /** After a chunked body: the trailers that may be kept, or undefined. */
  trailers: Fields | undefined = undefined;
  #state: State = "done";
  /** Bytes left of the body or chunk; while a size is read, its value so far. */
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #trailerReader: HeadReader | undefined = undefined;
  readonly #limits: Http1Limits;
  readonly #sink: BodySink;

  constructor(limits: Http1Limits, sink: BodySink) {
    this.#limits = limits;
    this.#sink = sink;
  }

  get isDone(): boolean {
    return this.#state === "done";
  }

  /** The body ends with the stream. */
  get isUntilClose(): boolean {
    return this.#state === "close";
  }

  /** `length` is above 0. */
  startLength(length: number): void {
    this.#state = "length";
    this.#left = length;
    this.trailers = undefined;
  }

  startChunked(): void {
    this.#state = "size-first";
    this.#left = 0;
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.trailers = undefined;
  }

  startUntilClose(): void {
    this.#state = "close";
    this.trailers = undefined;
  }

  /** The stream ended where an until-close body may. */
  finish(): void {
    this.#state = "done";
  }

  /** Reads on, to the body's end at most. Returns the offset of the first byte not read, or -1 with `fault` set. */
  read(chunk: Buffer, from: number): number {
    const end = chunk.length;
    let at = from;
    while (at < end) {
      switch (this.#state) {
        case "length":
          at = this.#emit(chunk, at, end);
          if (this.#left === 0) this.#state = "done";
          break;
        case "close":
          this.#sink.onData(at === 0 ? chunk : chunk.subarray(at));
          at = end;
          break;
        case "data":
          at = this.#emit(chunk, at, end);
          if (this.#left === 0) this.#state = "data-cr";
          break;
        case "trailers":
          at = this.#readTrailers(chunk, at);
          break;
        case "done":
          return at;
        case "size-first":
        case "size":
        case "extension":
        case "size-lf":
        case "data-cr":
        case "data-lf":
          this.fault = this.#step(chunk[at++] as number);
          if (this.fault !== undefined) return -1;
          break;
      }
      if (at < 0) return -1;
    }
    return at;
  }

  #emit(chunk: Buffer, from: number, end: number): number {
    const to = end - from > this.#left ? from + this.#left : end;
    this.#left -= to - from;
    this.#sink.onData(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to));
    return to;
  }

  /** One byte of what is around the chunks' data. */
  #step(byte: number): Fault | undefined {
    switch (this.#state) {
      case "size-first":
      case "size":
        return this.#stepSize(byte);
      case "extension":
        if (byte === CR) this.#state = "size-lf";
        else if (byte === LF) return CHUNK_END;
        else if (VALUE_BYTE[byte] === 0) return EXTENSION;
        else if (++this.#extensionBytes > EXTENSION_BYTES) return EXTENSIONS_TOO_LARGE;
        return undefined;
      case "size-lf":
        if (byte !== LF) return CHUNK_END;
        this.#state = this.#left === 0 ? "trailers" : "data";
        return undefined;
      case "data-cr":
        if (byte !== CR) return CHUNK_END;
        this.#state = "data-lf";
        return undefined;
      case "data-lf":
        if (byte !== LF) return CHUNK_END;
        this.#state = "size-first";
        this.#digits = 0;
        return undefined;
      case "length":
      case "close":
      case "data":
      case "trailers":
      case "done":
        throw new TypeError("no single byte is read here");
    }
  }

  #stepSize(byte: number): Fault | undefined {
    const digit = HEX_VALUE[byte] as number;
    if (digit < 16) {
      const size = 16 * this.#left + digit;
      if (++this.#digits > SIZE_DIGITS || size > Number.MAX_SAFE_INTEGER) return SIZE;
      this.#left = size;
      this.#state = "size";
      return undefined;
    }
    if (this.#state === "size-first") return SIZE;
    if (byte === CR) {
      this.#state = "size-lf";
      return undefined;
    }
    if (byte === LF) return CHUNK_END;
    // White space before an extension is allowed by the grammar's BWS, but some programs take it into the size.
    if (byte !== SEMICOLON) return SIZE;
    this.#state = "extension";
    return ++this.#extensionBytes > EXTENSION_BYTES ? EXTENSIONS_TOO_LARGE : undefined;
  }

  #readTrailers(chunk: Buffer, from: number): number {
    // Most bodies have none: two bytes, for which no reader is made.
    if (this.#trailerReader === undefined && chunk[from] === CR && chunk[from + 1] === LF) {
      this.#state = "done";
      return from + 2;
    }
    this.#trailerReader ??= new HeadReader(this.#limits, undefined);
    const reader = this.#trailerReader;
    const after = reader.read(chunk, from);
    if (after === NEED_MORE) return chunk.length;
    if (after < 0) {
      this.fault = reader.fault;
      return after;
    }
    if (reader.count > 0) this.trailers = keptTrailers(reader.takeFields());
    reader.reset();
    this.#trailerReader = undefined;
    this.#state = "done";
    return after;
  }
}

function keptTrailers(fields: Fields): Fields | undefined {
  const raw: string[] = [];
  const lower: string[] = [];
  for (let at = 0; at < fields.lower.length; at++) {
    const name = fields.lower[at] as string;
    if (!mayBeTrailer(name)) continue;
    lower.push(name);
    raw.push(fields.raw[2 * at] as string, fields.raw[2 * at + 1] as string);
  }
  return lower.length === 0 ? undefined : { raw, lower };
}
