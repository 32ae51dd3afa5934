import type { CodecParts } from "./codec-parts.ts";
import * as frames from "./frames.ts";
import type { StreamEndings } from "./stream-endings.ts";

/** A PING of ours that asks how far the other side has read (RFC 9113 section 6.8). */
const DRAIN_PING = 0x64726169;

/** GOAWAY in both directions (RFC 9113 section 6.8): who opens no more streams, and which of them count. */
export class Shutdown<User> {
  readonly #parts: CodecParts<User>;
  readonly #endings: StreamEndings<User>;
  #ours: "no" | "asked" | "final" = "no";
  #peerLast = Number.POSITIVE_INFINITY;

  constructor(parts: CodecParts<User>, endings: StreamEndings<User>) {
    this.#parts = parts;
    this.#endings = endings;
  }

  /** One of the two sides has said that the connection ends. */
  get hasBegun(): boolean {
    return this.#ours !== "no" || this.#peerLast !== Number.POSITIVE_INFINITY;
  }

  /** The other side has heard that the end is near, or had its time to: no stream counts that it opens now. */
  get isFinal(): boolean {
    return this.#ours === "final";
  }

  /** Asks the other side to open no more streams. What it has opened meanwhile is served: it is first told that the end is near, and
   *  only once it must have heard that, which streams count. */
  begin(): void {
    const { conduct, role, out } = this.#parts;
    if (this.#ours !== "no" || !conduct.goesOn) return;
    if (role === "client") {
      this.#ours = "final";
      frames.writeGoaway(out, 0, frames.NO_ERROR, "");
      return;
    }
    this.#ours = "asked";
    frames.writeGoaway(out, frames.MAX_WINDOW, frames.NO_ERROR, "");
    frames.writeFrameHeader(out, 8, frames.PING, 0, 0);
    out.uint32(DRAIN_PING);
    out.uint32(0);
  }

  /** The other side has answered a PING of ours. */
  onPong(payload: number): void {
    if (payload === DRAIN_PING && this.#ours === "asked") this.#finalGoaway();
  }

  /** Server: takes no more streams from now on, whether or not the other side has said that it heard of the shutdown. */
  finish(): void {
    if (this.#ours === "asked" && this.#parts.conduct.goesOn) this.#finalGoaway();
  }

  #finalGoaway(): void {
    const { out, numbers, streams, handler } = this.#parts;
    this.#ours = "final";
    frames.writeGoaway(out, numbers.lastPeer, frames.NO_ERROR, "");
    if (streams.size === 0) handler.onIdle();
  }

  /** A GOAWAY frame. False if the connection is over. */
  onFrame(streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { conduct, role, streams, handler } = this.#parts;
    if (streamId !== 0) return conduct.fail(frames.PROTOCOL_ERROR, "GOAWAY on a stream");
    if (end - start < 8) return conduct.fail(frames.FRAME_SIZE_ERROR, "a GOAWAY of a wrong length");
    const last = frames.readUint31(bytes, start);
    const code = frames.readUint32(bytes, start + 4);
    if (last > this.#peerLast) return conduct.fail(frames.PROTOCOL_ERROR, "a GOAWAY that takes an earlier one back");
    this.#peerLast = last;
    if (role === "client") {
      for (const stream of streams.list()) {
        if (stream.id <= last) continue;
        this.#endings.lose(stream, frames.REFUSED_STREAM, `not processed before GOAWAY ${frames.errorName(code)}`);
      }
    }
    handler.onGoaway(last, code);
    return conduct.goesOn;
  }
}
