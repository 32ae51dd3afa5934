import type { Fields } from "../http1/http1-events.ts";
import type { CodecParts } from "./codec-parts.ts";
import { INTERNAL_ERROR, NO_ERROR } from "./frames.ts";
import type { Http2Stream } from "./http2-stream.ts";
import type { StreamEndings } from "./stream-endings.ts";

/** Our half of each stream: its body, and its end behind what of the body waits for window. */
export class SentHalves<User> {
  readonly #parts: CodecParts<User>;
  readonly #endings: StreamEndings<User>;

  constructor(parts: CodecParts<User>, endings: StreamEndings<User>) {
    this.#parts = parts;
    this.#endings = endings;
  }

  /** Sends body bytes as far as windows let them go; the rest is copied and waits. */
  data(stream: Http2Stream<User>, chunk: Uint8Array): void {
    if (stream.reset || stream.localEnded || stream.endQueued) return;
    this.#parts.queue.send(stream, chunk);
  }

  /** Ends our half, behind what waits. */
  end(stream: Http2Stream<User>, trailers: Fields | undefined): void {
    if (stream.reset || stream.localEnded || stream.endQueued) return;
    if (stream.queuedBytes > 0) {
      stream.endQueued = true;
      stream.trailers = trailers;
      return;
    }
    this.#writeEnd(stream, trailers);
    this.#endings.closeIfEnded(stream);
  }

  /** Server: ends our half, and once that has left the stream with it: what the other side still sends is not wanted
   *  (RFC 9113 section 8.1). */
  endAndCancel(stream: Http2Stream<User>): void {
    if (stream.reset) return;
    // an end of theirs that is held for its owner, whom nothing more interests, holds the stream no longer
    stream.endHeld = false;
    stream.cancelAfterEnd = true;
    this.end(stream, undefined);
    if (stream.reset || !stream.localEnded) return;
    if (stream.remoteEnded) this.#endings.closeIfEnded(stream);
    else this.#endings.reset(stream, NO_ERROR);
  }

  /** What waited has left, and the end was to follow it. */
  endQueued(stream: Http2Stream<User>): void {
    this.#writeEnd(stream, stream.trailers);
    if (stream.cancelAfterEnd && !stream.remoteEnded) this.#endings.reset(stream, NO_ERROR);
    this.#endings.closeIfEnded(stream);
  }

  #writeEnd(stream: Http2Stream<User>, trailers: Fields | undefined): void {
    const { writer } = this.#parts;
    stream.localEnded = true;
    if (trailers === undefined || trailers.lower.length === 0) {
      writer.end(stream.id);
      return;
    }
    writer.beginHeaders(stream.id);
    const { lower, raw } = trailers;
    try {
      for (let at = 0; at < lower.length; at++) writer.field(lower[at] as string, raw[2 * at + 1] as string);
    } catch {
      // half of a message must not look like a whole one
      writer.dropHeaders();
      this.#endings.writeReset(stream.id, INTERNAL_ERROR);
      this.#endings.lose(stream, INTERNAL_ERROR, "a trailer holds what no field may hold");
      return;
    }
    writer.endTrailers(stream.id);
  }
}
