import type { CodecParts } from "./codec-parts.ts";
import * as frames from "./frames.ts";
import type { Shutdown } from "./shutdown.ts";
import type { StreamEndings } from "./stream-endings.ts";

/** The small frames that carry no part of a message: WINDOW_UPDATE, RST_STREAM, PING and PRIORITY (RFC 9113 section 6). Each method returns false
 *  if the connection is over. */
export class ControlFrames<User> {
  readonly #parts: CodecParts<User>;
  readonly #endings: StreamEndings<User>;
  readonly #shutdown: Shutdown<User>;

  constructor(parts: CodecParts<User>, endings: StreamEndings<User>, shutdown: Shutdown<User>) {
    this.#parts = parts;
    this.#endings = endings;
    this.#shutdown = shutdown;
  }

  onWindowUpdate(streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { conduct, queue, streams, numbers } = this.#parts;
    if (end - start !== 4) return conduct.fail(frames.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of a wrong length");
    const increment = frames.readUint31(bytes, start);
    if (conduct.floods("windowUpdates")) return false;
    if (streamId === 0) {
      if (increment === 0) return conduct.fail(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE of zero");
      return queue.widen(increment) || conduct.fail(frames.FLOW_CONTROL_ERROR, "a window larger than windows can be");
    }
    const stream = streams.get(streamId);
    if (stream === undefined) {
      return (
        !numbers.isIdle(streamId) ||
        conduct.fail(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE on a stream that was never opened")
      );
    }
    if (increment === 0) return this.#endings.break(stream, frames.PROTOCOL_ERROR, "a WINDOW_UPDATE of zero");
    if (!queue.widenStream(stream, increment)) {
      return this.#endings.break(stream, frames.FLOW_CONTROL_ERROR, "a window larger than windows can be");
    }
    return conduct.goesOn;
  }

  onRstStream(streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { conduct, role, streams, numbers } = this.#parts;
    if (end - start !== 4) return conduct.fail(frames.FRAME_SIZE_ERROR, "a RST_STREAM of a wrong length");
    if (streamId === 0 || numbers.isIdle(streamId)) {
      return conduct.fail(frames.PROTOCOL_ERROR, "a RST_STREAM on a stream that was never opened");
    }
    if (role === "server" && conduct.floods("resets")) return false;
    const stream = streams.get(streamId);
    if (stream === undefined) return true;
    if (this.#endings.outlives(stream)) return true;
    const code = frames.readUint32(bytes, start);
    this.#endings.lose(stream, code, `the other side reset the stream: ${frames.errorName(code)}`);
    return conduct.goesOn;
  }

  onPing(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { conduct, out } = this.#parts;
    if (streamId !== 0) return conduct.fail(frames.PROTOCOL_ERROR, "PING on a stream");
    if (end - start !== 8) return conduct.fail(frames.FRAME_SIZE_ERROR, "a PING of a wrong length");
    if ((flags & frames.ACK) !== 0) {
      this.#shutdown.onPong(frames.readUint32(bytes, start));
      return true;
    }
    if (conduct.floods("pings")) return false;
    frames.writeFrameHeader(out, 8, frames.PING, frames.ACK, 0);
    out.bytes(bytes.subarray(start, end));
    return true;
  }

  onPriority(streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { conduct, streams } = this.#parts;
    if (streamId === 0) return conduct.fail(frames.PROTOCOL_ERROR, "PRIORITY on stream 0");
    if (conduct.floods("priorities")) return false;
    if (end - start !== 5) {
      const detail = "a PRIORITY of a wrong length";
      const stream = streams.get(streamId);
      return stream === undefined
        ? conduct.fail(frames.FRAME_SIZE_ERROR, detail)
        : this.#endings.break(stream, frames.FRAME_SIZE_ERROR, detail);
    }
    if (frames.readUint31(bytes, start) === streamId) {
      return conduct.fail(frames.PROTOCOL_ERROR, "a stream depends on itself");
    }
    return conduct.goesOn;
  }
}
