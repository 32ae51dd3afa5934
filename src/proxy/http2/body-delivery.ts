import type { Fields } from "../http1/http1-events.ts";
import type { CodecParts } from "./codec-parts.ts";
import { PROTOCOL_ERROR } from "./frames.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { Http2Stream } from "./http2-stream.ts";
import type { StreamEndings } from "./stream-endings.ts";

/** Hands bodies and their ends to the streams' owners; what comes for one that takes nothing now is held. */
export class BodyDelivery<User> {
  readonly #parts: CodecParts<User>;
  readonly #endings: StreamEndings<User>;

  constructor(parts: CodecParts<User>, endings: StreamEndings<User>) {
    this.#parts = parts;
    this.#endings = endings;
  }

  /** Body bytes have come. */
  deliver(stream: Http2Stream<User>, chunk: Uint8Array): void {
    if (stream.paused || stream.held !== undefined) {
      stream.held ??= new HeldBytes();
      stream.held.push(chunk);
      stream.heldNow += chunk.length;
    } else this.#parts.handler.onData(stream, chunk);
  }

  /** The other side has ended its half. */
  end(stream: Http2Stream<User>, trailers: Fields | undefined): void {
    if (stream.reset || stream.remoteEnded) return;
    if (stream.expected > 0) {
      this.#endings.break(stream, PROTOCOL_ERROR, "less DATA than content-length announces");
      return;
    }
    stream.remoteEnded = true;
    if (stream.cancelAfterEnd) {
      // its owner is done with it, and takes nothing that is held
      this.#endings.closeIfEnded(stream);
      return;
    }
    if (this.#holdsEnd(stream)) {
      stream.endHeld = true;
      stream.heldTrailers = trailers;
      return;
    }
    // the handler may end our half from inside: the stream is closed by whoever comes second
    this.#parts.handler.onEnd(stream, trailers);
    this.#endings.closeIfEnded(stream);
  }

  #holdsEnd({ held, paused, endPasses }: Http2Stream<User>): boolean {
    return held !== undefined || (paused && !endPasses);
  }

  /** The stream's owner takes nothing for now: what the window allows is held, and the end with it, unless `endPasses`: then an end with nothing
   *  held before it comes. */
  pause(stream: Http2Stream<User>, endPasses: boolean): void {
    stream.paused = true;
    stream.endPasses = endPasses;
  }

  /** The owner takes data again: what was held comes now. */
  resume(stream: Http2Stream<User>): void {
    if (!stream.paused) return;
    const { handler, windows } = this.#parts;
    stream.paused = false;
    while (stream.held !== undefined && !this.#isPaused(stream)) {
      const chunk = stream.held.shift() as Uint8Array;
      if (stream.held.isEmpty) stream.held = undefined;
      handler.onData(stream, chunk);
      windows.giveBackTo(stream, chunk.length);
    }
    if (stream.endHeld && !stream.reset && !this.#holdsEnd(stream)) {
      stream.endHeld = false;
      handler.onEnd(stream, stream.heldTrailers);
      this.#endings.closeIfEnded(stream);
    }
  }

  /** Read anew: handlers change it meanwhile. */
  #isPaused(stream: Http2Stream<User>): boolean {
    return stream.paused;
  }
}
