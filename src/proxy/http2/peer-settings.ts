import type { CodecParts } from "./codec-parts.ts";
import * as frames from "./frames.ts";
import { OUR_MAX_FRAME } from "./http2-limits.ts";

/** What the other side has told by SETTINGS (RFC 9113 section 6.5): checked, and in force once acknowledged. */
export class PeerSettings {
  readonly #parts: CodecParts<unknown>;
  #haveCome = false;
  #knowsOurs = false;
  #streams = Number.POSITIVE_INFINITY;
  #extendedConnect = false;

  constructor(parts: CodecParts<unknown>) {
    this.#parts = parts;
  }

  /** Before that nobody knows that the other side speaks HTTP/2. */
  get haveCome(): boolean {
    return this.#haveCome;
  }

  /** The other side has acknowledged our settings: it knows how many streams it may open. */
  get knowsOurs(): boolean {
    return this.#knowsOurs;
  }

  /** How many streams we may have open. */
  get streams(): number {
    return this.#streams;
  }

  /** It takes extended CONNECT (RFC 8441). */
  get extendedConnect(): boolean {
    return this.#extendedConnect;
  }

  /** A SETTINGS frame. False if the connection is over. */
  onFrame(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { conduct, queue, out, handler } = this.#parts;
    if (streamId !== 0) return conduct.fail(frames.PROTOCOL_ERROR, "SETTINGS on a stream");
    if ((flags & frames.ACK) !== 0) {
      if (start !== end) {
        return conduct.fail(frames.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS that holds some");
      }
      this.#knowsOurs = true;
      return true;
    }
    if ((end - start) % 6 !== 0) return conduct.fail(frames.FRAME_SIZE_ERROR, "SETTINGS of a wrong length");
    if (conduct.floods("settings")) return false;
    this.#haveCome = true;
    const window = queue.initialWindow;
    for (let at = start; at < end; at += 6) {
      const id = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
      if (!this.#take(id, frames.readUint32(bytes, at + 2))) return false;
    }
    frames.writeFrameHeader(out, 0, frames.SETTINGS, frames.ACK, 0);
    // after the acknowledgement: what a larger window lets out comes under settings that are known to be in force
    if (queue.initialWindow > window) queue.flush();
    handler.onSettings();
    return conduct.goesOn;
  }

  #take(id: number, value: number): boolean {
    const { conduct, writer, role } = this.#parts;
    switch (id) {
      case frames.SETTINGS_HEADER_TABLE_SIZE:
        writer.setMaxTableBytes(value);
        return true;
      case frames.SETTINGS_ENABLE_PUSH:
        return (
          value === 0 ||
          (value === 1 && role === "server") ||
          conduct.fail(frames.PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH with a forbidden value")
        );
      case frames.SETTINGS_MAX_CONCURRENT_STREAMS:
        this.#streams = value;
        return true;
      case frames.SETTINGS_INITIAL_WINDOW_SIZE:
        return this.#takeInitialWindow(value);
      case frames.SETTINGS_MAX_FRAME_SIZE:
        if (value < frames.MAX_FRAME_BYTES || value > 0xff_ffff) {
          return conduct.fail(frames.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE with a forbidden value");
        }
        writer.maxFrame = Math.min(value, OUR_MAX_FRAME);
        return true;
      case frames.SETTINGS_ENABLE_CONNECT_PROTOCOL:
        if (value > 1 || (value === 0 && this.#extendedConnect)) {
          return conduct.fail(frames.PROTOCOL_ERROR, "SETTINGS_ENABLE_CONNECT_PROTOCOL with a forbidden value");
        }
        this.#extendedConnect = value === 1;
        return true;
      default:
        return true;
    }
  }

  #takeInitialWindow(value: number): boolean {
    const { conduct, queue } = this.#parts;
    if (value > frames.MAX_WINDOW) {
      return conduct.fail(frames.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE larger than windows can be");
    }
    return (
      queue.setInitialWindow(value) || conduct.fail(frames.FLOW_CONTROL_ERROR, "a window larger than windows can be")
    );
  }
}
