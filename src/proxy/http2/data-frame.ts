import type { BodyDelivery } from "./body-delivery.ts";
import type { CodecParts } from "./codec-parts.ts";
import * as frames from "./frames.ts";
import type { Http2Stream } from "./http2-stream.ts";
import type { StreamEndings } from "./stream-endings.ts";

/** The DATA frame under way (RFC 9113 section 6.1): judged at its start, delivered piece by piece without its padding. Each method returns false
 *  if the connection is over. */
export class DataFrame<User> {
  readonly #parts: CodecParts<User>;
  readonly #endings: StreamEndings<User>;
  readonly #delivery: BodyDelivery<User>;
  /** Undefined where it is read and dropped. */
  #stream: Http2Stream<User> | undefined;
  #flags = 0;
  #length = 0;
  /** Octets of padding at the end; -1: their number comes first. */
  #padding = -1;
  #payloadLeft = 0;

  constructor(parts: CodecParts<User>, endings: StreamEndings<User>, delivery: BodyDelivery<User>) {
    this.#parts = parts;
    this.#endings = endings;
    this.#delivery = delivery;
  }

  begin(flags: number, streamId: number, length: number): boolean {
    const { conduct, numbers, streams, windows, guard, role } = this.#parts;
    if (streamId === 0) return conduct.fail(frames.PROTOCOL_ERROR, "DATA on stream 0");
    const stream = streams.get(streamId);
    if (stream === undefined && !numbers.isClosedByUs(streamId)) {
      return numbers.isIdle(streamId)
        ? conduct.fail(frames.PROTOCOL_ERROR, "DATA on a stream that was never opened")
        : conduct.fail(frames.STREAM_CLOSED, "DATA on a stream that has ended");
    }
    if (!windows.takes(length)) {
      return conduct.fail(frames.FLOW_CONTROL_ERROR, "DATA beyond the connection's window");
    }
    if (length === 0 && (flags & frames.END_STREAM) === 0 && conduct.floods("emptyFrames")) return false;
    this.#stream = undefined;
    this.#flags = flags;
    this.#length = length;
    this.#payloadLeft = length;
    this.#padding = (flags & frames.PADDED) === 0 ? 0 : -1;
    if (this.#padding === -1 && length === 0) return conduct.fail(frames.FRAME_SIZE_ERROR, "padding without a length");
    guard.traffic();
    if (stream === undefined) return true;
    if (stream.remoteEnded) {
      return this.#endings.break(stream, frames.STREAM_CLOSED, "DATA behind the end of the stream");
    }
    if (role === "client" && !stream.finalHeadSeen) {
      return this.#endings.break(stream, frames.PROTOCOL_ERROR, "DATA before the response's head");
    }
    if (length > stream.receiveWindow) {
      return this.#endings.break(stream, frames.FLOW_CONTROL_ERROR, "DATA beyond the stream's window");
    }
    stream.receiveWindow -= length;
    this.#stream = stream;
    return true;
  }

  piece(bytes: Uint8Array, start: number, end: number): boolean {
    const { conduct } = this.#parts;
    let from = start;
    if (this.#padding === -1) {
      this.#padding = bytes[from] as number;
      from++;
      this.#payloadLeft--;
      if (this.#padding > this.#payloadLeft) return conduct.fail(frames.PROTOCOL_ERROR, "more padding than payload");
      const isEmpty = this.#padding === this.#payloadLeft && (this.#flags & frames.END_STREAM) === 0;
      if (isEmpty && conduct.floods("emptyFrames")) return false;
    }
    const left = this.#payloadLeft;
    this.#payloadLeft -= end - from;
    const stream = this.#stream;
    if (stream === undefined || stream.reset) return true;
    const useful = Math.min(end - from, left - this.#padding);
    if (useful <= 0) return true;
    if (stream.expected !== -1) {
      stream.expected -= useful;
      if (stream.expected < 0) {
        return this.#endings.break(stream, frames.PROTOCOL_ERROR, "more DATA than content-length announces");
      }
    }
    this.#delivery.deliver(stream, bytes.subarray(from, from + useful));
    return conduct.goesOn;
  }

  end(): boolean {
    const { windows, conduct } = this.#parts;
    const stream = this.#stream;
    const length = this.#length;
    this.#stream = undefined;
    // held or dropped, it is given back: a stream whose reader rests is stopped by its own window, and must not stop the others
    windows.giveBack(length);
    if (stream === undefined || stream.reset) return true;
    const held = stream.heldNow;
    stream.heldNow = 0;
    if ((this.#flags & frames.END_STREAM) !== 0) this.#delivery.end(stream, undefined);
    else windows.giveBackTo(stream, length - held);
    return conduct.goesOn;
  }
}
