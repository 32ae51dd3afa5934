import type { HeadLines } from "../http1/head-lines.ts";
import type { OutputBuffer } from "../http1/output-buffer.ts";
import * as frames from "./frames.ts";
import { HpackEncoder } from "./hpack-encoder.ts";

/** Writes the frames of messages: HEADERS with CONTINUATION, and DATA, in order. One header section at a time: nothing else is written between
 *  its begin and its end. */
export class MessageWriter {
  readonly #out: OutputBuffer;
  readonly #encoder = new HpackEncoder();
  /** The largest payload that the other side takes. */
  maxFrame: number = frames.MAX_FRAME_BYTES;
  /** Where the header section begins that is being written, or was last. */
  #headersAt = 0;
  // ── the frame written last, as long as it can still be given END_STREAM ──
  #lastStream = 0;
  #lastFlagsAt = 0;
  #lastGeneration = -1;

  constructor(out: OutputBuffer) {
    this.#out = out;
  }

  /** The other side's SETTINGS_HEADER_TABLE_SIZE. */
  setMaxTableBytes(bytes: number): void {
    this.#encoder.setMaxTableBytes(bytes);
  }

  beginHeaders(streamId: number): void {
    const out = this.#out;
    this.#headersAt = out.length;
    frames.writeFrameHeader(out, 0, frames.HEADERS, frames.END_HEADERS, streamId);
    this.#encoder.begin(out);
  }

  /** Throws TypeError for what no field may hold: `dropHeaders` is to be called then. So do `status` and `lines`. */
  field(name: string, value: string): void {
    this.#encoder.field(this.#out, name, value);
  }

  status(code: number): void {
    this.#encoder.status(this.#out, code);
  }

  lines(lines: HeadLines): void {
    lines.encode(this.#out, this.#encoder);
  }

  /** Takes the header section back that was begun. The other side's table stays right, since the next block resets it. */
  dropHeaders(): void {
    this.#out.truncate(this.#headersAt);
  }

  /** Ends a header section that more may follow. */
  endHeaders(streamId: number): void {
    const out = this.#out;
    const length = out.length - this.#headersAt - frames.FRAME_HEADER_BYTES;
    if (length <= this.maxFrame) {
      out.patchUint24(this.#headersAt, length);
      this.#wroteFrame(streamId, this.#headersAt + 4);
    } else this.#splitBlock(streamId);
  }

  /** Ends a header section that is a stream's last. */
  endTrailers(streamId: number): void {
    const at = this.#headersAt;
    this.endHeaders(streamId);
    this.#out.patchBits(at + 4, frames.END_STREAM);
    this.#lastGeneration = -1;
  }

  #splitBlock(streamId: number): void {
    const out = this.#out;
    const block = out.copyFrom(this.#headersAt + frames.FRAME_HEADER_BYTES);
    out.truncate(this.#headersAt);
    const max = this.maxFrame;
    for (let at = 0; at < block.length; at += max) {
      const until = Math.min(at + max, block.length);
      const type = at === 0 ? frames.HEADERS : frames.CONTINUATION;
      const flags = until === block.length ? frames.END_HEADERS : 0;
      frames.writeFrameHeader(out, until - at, type, flags, streamId);
      out.bytes(block.subarray(at, until));
    }
    // END_STREAM stands on HEADERS; with CONTINUATION behind it an empty DATA frame says the end more simply
    this.#lastGeneration = -1;
  }

  /** Writes one DATA frame, no longer than `maxFrame`. */
  data(streamId: number, chunk: Uint8Array): void {
    const flagsAt = this.#out.length + 4;
    frames.writeFrameHeader(this.#out, chunk.length, frames.DATA, 0, streamId);
    this.#out.bytes(chunk);
    this.#wroteFrame(streamId, flagsAt);
  }

  #wroteFrame(streamId: number, flagsAt: number): void {
    this.#lastStream = streamId;
    this.#lastFlagsAt = flagsAt;
    this.#lastGeneration = this.#out.generation;
  }

  /** Ends a stream without trailers. */
  end(streamId: number): void {
    const out = this.#out;
    // a frame that has not left yet says the end as well
    if (this.#lastStream === streamId && this.#lastGeneration === out.generation) {
      out.patchBits(this.#lastFlagsAt, frames.END_STREAM);
    } else frames.writeFrameHeader(out, 0, frames.DATA, frames.END_STREAM, streamId);
    this.#lastGeneration = -1;
  }

  reset(streamId: number, errorCode: number): void {
    frames.writeNumberFrame(this.#out, frames.RST_STREAM, streamId, errorCode);
    this.#lastGeneration = -1;
  }
}
