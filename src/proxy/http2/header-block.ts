import type { FloodGuard } from "./flood-guard.ts";
import * as frames from "./frames.ts";
import type { PeerConduct } from "./peer-conduct.ts";

const NO_BYTES = Buffer.alloc(0);

/** Receives a whole header block. Returns false if the connection is over. */
export interface BlockSink {
  /** `flags`: of its HEADERS frame. */
  onBlock(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean;
}

/** The header block under way: HEADERS, whose padding and priority are taken off, and the CONTINUATION frames that complete it (RFC 9113 sections
 *  4.3, 6.2 and 6.10). Each method returns false if the connection is over. */
export class HeaderBlock {
  readonly #conduct: PeerConduct;
  readonly #guard: FloodGuard;
  readonly #maxBytes: number;
  readonly #maxContinuations: number;
  readonly #sink: BlockSink;
  #stream = 0;
  #frame = 0;
  #flags = 0;
  #bytes: Uint8Array = NO_BYTES;
  #continuations = 0;

  /** `maxBytes`: of a block, compressed. `maxContinuations`: frames of a block behind its first. */
  constructor(conduct: PeerConduct, guard: FloodGuard, maxBytes: number, maxContinuations: number, sink: BlockSink) {
    this.#conduct = conduct;
    this.#guard = guard;
    this.#maxBytes = maxBytes;
    this.#maxContinuations = maxContinuations;
    this.#sink = sink;
  }

  /** The stream whose block is to be continued; 0: none. */
  get stream(): number {
    return this.#stream;
  }

  /** The number of the frame that began the block that is to be continued. */
  get frame(): number {
    return this.#frame;
  }

  /** `frame`: its number. */
  onHeaders(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number, frame: number): boolean {
    const conduct = this.#conduct;
    if (streamId === 0) return conduct.fail(frames.PROTOCOL_ERROR, "HEADERS on stream 0");
    let from = start;
    let until = end;
    if ((flags & frames.PADDED) !== 0) {
      const padding = from < end ? (bytes[from] as number) : 256;
      from++;
      until -= padding;
    }
    if ((flags & frames.WITH_PRIORITY) !== 0) from += 5;
    if (from > until) return conduct.fail(frames.PROTOCOL_ERROR, "HEADERS shorter than its flags say");
    if ((flags & frames.WITH_PRIORITY) !== 0 && frames.readUint31(bytes, from - 5) === streamId) {
      return conduct.fail(frames.PROTOCOL_ERROR, "a stream depends on itself");
    }
    this.#guard.traffic();
    if ((flags & frames.END_HEADERS) !== 0) return this.#sink.onBlock(flags, streamId, bytes, from, until);
    if (until - from > this.#maxBytes) return this.#tooLarge();
    this.#stream = streamId;
    this.#frame = frame;
    this.#flags = flags;
    this.#bytes = Buffer.from(bytes.subarray(from, until));
    this.#continuations = 0;
    return true;
  }

  onContinuation(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    const conduct = this.#conduct;
    if (this.#stream === 0) return conduct.fail(frames.PROTOCOL_ERROR, "CONTINUATION without a header block");
    this.#continuations++;
    if (this.#continuations > this.#maxContinuations) {
      return conduct.fail(frames.ENHANCE_YOUR_CALM, "too many: CONTINUATION frames", "E_HTTP2_FLOOD");
    }
    if (start === end && conduct.floods("emptyFrames")) return false;
    if (this.#bytes.length + (end - start) > this.#maxBytes) return this.#tooLarge();
    const block = Buffer.concat([this.#bytes, bytes.subarray(start, end)]);
    this.#bytes = block;
    if ((flags & frames.END_HEADERS) === 0) return true;
    this.#stream = 0;
    this.#bytes = NO_BYTES;
    return this.#sink.onBlock(this.#flags, streamId, block, 0, block.length);
  }

  /** Compressed it is larger already than it may be decompressed: reading on would only serve the sender. */
  #tooLarge(): boolean {
    return this.#conduct.fail(frames.ENHANCE_YOUR_CALM, "a header block is larger than the limit", "E_HTTP2_FLOOD");
  }
}
