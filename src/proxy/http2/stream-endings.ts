import type { CodecParts } from "./codec-parts.ts";
import type { Http2Stream } from "./http2-stream.ts";

/** How streams end: in order, by a reset of either side, or by a broken rule. Whatever the way, their owner hears of it once. */
export class StreamEndings<User> {
  readonly #parts: CodecParts<User>;

  constructor(parts: CodecParts<User>) {
    this.#parts = parts;
  }

  /** Ends a stream at once. What waits on it is dropped; nothing is delivered any more. */
  reset(stream: Http2Stream<User>, errorCode: number): void {
    if (stream.reset) return;
    this.writeReset(stream.id, errorCode);
    this.close(stream);
  }

  /** Tells the other side that there is no such stream. */
  writeReset(streamId: number, errorCode: number): void {
    this.#parts.writer.reset(streamId, errorCode);
    this.#parts.numbers.noteReset(streamId);
  }

  /** The other side broke the stream's rules. False if the connection is over, for the frame reader: by too many of these, or by what the
   *  stream's owner did. */
  break(stream: Http2Stream<User>, errorCode: number, detail: string): boolean {
    const { conduct } = this.#parts;
    if (conduct.floods("provokedResets")) return false;
    this.writeReset(stream.id, errorCode);
    this.lose(stream, errorCode, detail);
    return conduct.goesOn;
  }

  /** A stream is over before its end. Its owner hears why before it hears that it is closed. */
  lose(stream: Http2Stream<User>, errorCode: number, detail: string): void {
    if (stream.reset) return;
    stream.reset = true;
    this.#parts.handler.onReset(stream, errorCode, detail);
    this.close(stream);
  }

  /** Both halves may have ended. */
  closeIfEnded(stream: Http2Stream<User>): void {
    if (!stream.remoteEnded || !stream.localEnded || stream.endHeld || stream.reset) return;
    this.#parts.guard.completed();
    this.close(stream);
  }

  close(stream: Http2Stream<User>): void {
    const { queue, windows, streams, handler } = this.#parts;
    stream.reset = true;
    queue.drop(stream);
    stream.held = undefined;
    windows.onClosed(stream);
    streams.delete(stream);
    handler.onStreamClosed(stream);
    if (streams.size === 0) handler.onIdle();
  }

  /** The other side is gone, or has reset the stream. True for a stream of which all is here that it had to say: it still comes, and only our
   *  own half ends (RFC 9113 section 8.1: a complete response is not discarded). */
  outlives(stream: Http2Stream<User>): boolean {
    const { role, queue, handler } = this.#parts;
    if (stream.reset || !stream.endHeld || role === "server") return false;
    stream.localEnded = true;
    queue.drop(stream);
    if (stream.awaitsDrain) {
      stream.awaitsDrain = false;
      handler.onStreamWritable(stream);
    }
    return true;
  }
}
