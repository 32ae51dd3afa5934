import { DATA, FRAME_HEADER_BYTES, readUint31 } from "./frames.ts";

/** Receives frames in wire order. Bytes are views into what was pushed: valid during the call only. Returning false ends the reading. */
export interface FrameSink {
  /** A frame begins; judged before a byte of its payload is kept. */
  onFrameStart(type: number, flags: number, streamId: number, length: number): boolean;
  /** A whole frame other than DATA. */
  onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean;
  /** A piece of a DATA frame's payload, its padding included. */
  onDataPiece(bytes: Uint8Array, start: number, end: number): boolean;
  /** The DATA frame is complete. */
  onDataEnd(): boolean;
}

const NOTHING = Buffer.alloc(0);

/** Cuts a byte stream into frames (RFC 9113 section 4.1). DATA is passed on as it comes; every other frame is kept until it is whole, which
 *  the sink bounds by judging its length at the start. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  #type = 0;
  #flags = 0;
  #streamId = 0;
  /** Payload octets that have not come yet. */
  #missing = 0;
  #inFrame = false;
  #frames = 0;
  #held: Buffer = NOTHING;
  #heldBytes = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** The number of the frame other than DATA that has begun and is not whole yet; 0 if there is none. */
  get unfinished(): number {
    if (this.#headerBytes > 0) return this.#frames + 1;
    return this.#inFrame && this.#type !== DATA ? this.#frames : 0;
  }

  /** Frames that have begun. */
  get frames(): number {
    return this.#frames;
  }

  /** False once the sink wants no more. */
  push(bytes: Uint8Array, from: number): boolean {
    const end = bytes.length;
    let at = from;
    while (at < end || (this.#inFrame && this.#missing === 0)) {
      if (!this.#inFrame) {
        if (this.#headerBytes === 0 && end - at >= FRAME_HEADER_BYTES) {
          if (!this.#begin(bytes, at)) return false;
          at += FRAME_HEADER_BYTES;
        } else {
          const more = Math.min(FRAME_HEADER_BYTES - this.#headerBytes, end - at);
          this.#header.set(bytes.subarray(at, at + more), this.#headerBytes);
          this.#headerBytes += more;
          at += more;
          if (this.#headerBytes < FRAME_HEADER_BYTES) return true;
          this.#headerBytes = 0;
          if (!this.#begin(this.#header, 0)) return false;
        }
        continue;
      }
      const next = this.#type === DATA ? this.#readData(bytes, at, end) : this.#readWhole(bytes, at, end);
      if (next < 0) return false;
      at = next;
    }
    return true;
  }

  #begin(bytes: Uint8Array, at: number): boolean {
    const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
    this.#type = bytes[at + 3] as number;
    this.#flags = bytes[at + 4] as number;
    this.#streamId = readUint31(bytes, at + 5);
    this.#missing = length;
    this.#inFrame = true;
    this.#frames++;
    return this.#sink.onFrameStart(this.#type, this.#flags, this.#streamId, length);
  }

  #readData(bytes: Uint8Array, at: number, end: number): number {
    const until = Math.min(end, at + this.#missing);
    this.#missing -= until - at;
    const ended = this.#missing === 0;
    if (ended) this.#inFrame = false;
    if (until > at && !this.#sink.onDataPiece(bytes, at, until)) return -1;
    if (ended && !this.#sink.onDataEnd()) return -1;
    return until;
  }

  #readWhole(bytes: Uint8Array, at: number, end: number): number {
    const until = Math.min(end, at + this.#missing);
    if (this.#heldBytes === 0 && until === at + this.#missing) {
      this.#inFrame = false;
      return this.#sink.onFrame(this.#type, this.#flags, this.#streamId, bytes, at, until) ? until : -1;
    }
    if (this.#heldBytes === 0) this.#held = Buffer.allocUnsafe(this.#missing);
    this.#held.set(bytes.subarray(at, until), this.#heldBytes);
    this.#heldBytes += until - at;
    this.#missing -= until - at;
    if (this.#missing > 0) return until;
    const held = this.#held;
    const length = this.#heldBytes;
    this.#held = NOTHING;
    this.#heldBytes = 0;
    this.#inFrame = false;
    return this.#sink.onFrame(this.#type, this.#flags, this.#streamId, held, 0, length) ? until : -1;
  }
}
