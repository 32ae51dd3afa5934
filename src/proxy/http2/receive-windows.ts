import type { OutputBuffer } from "../http1/output-buffer.ts";
import { WINDOW_UPDATE, writeNumberFrame } from "./frames.ts";
import type { Http2Stream } from "./http2-stream.ts";

const MAX_STREAM_WINDOW = 512 * 1024;
const MAX_CONNECTION_WINDOW = 4 * 1024 * 1024;
/** By how much the windows of all streams may grow together: what a peer can make us hold is this and every stream's first window. */
const MAX_EXTRA_WINDOW = 4 * 1024 * 1024;

/** How much the other side may still send (RFC 9113 section 5.2), on the connection and on its streams: what it used up is given back by
 *  WINDOW_UPDATE, half a window at a time, and windows grow with use. */
export class ReceiveWindows {
  readonly #out: OutputBuffer;
  /** Of a stream at its start, octets. */
  readonly #streamWindow: number;
  /** What may still come on the connection. */
  #left: number;
  /** The connection's window that we keep open. */
  #window: number;
  /** Used up, and not given back yet. */
  #unacknowledged = 0;
  #sinceGrowth = 0;
  /** By how much streams' windows have grown, all together. */
  #extra = 0;

  constructor(out: OutputBuffer, connectionWindow: number, streamWindow: number) {
    this.#out = out;
    this.#streamWindow = streamWindow;
    this.#left = connectionWindow;
    this.#window = connectionWindow;
  }

  /** A DATA frame with a payload of `length` begins. False if the connection's window is too small for it. */
  takes(length: number): boolean {
    if (length > this.#left) return false;
    this.#left -= length;
    return true;
  }

  /** Gives the connection back what a frame used up. */
  giveBack(length: number): void {
    if (length === 0) return;
    this.#unacknowledged += length;
    this.#sinceGrowth += length;
    if (this.#unacknowledged < this.#window / 2) return;
    let increment = this.#unacknowledged;
    if (this.#sinceGrowth >= 4 * this.#window && this.#window < MAX_CONNECTION_WINDOW) {
      this.#sinceGrowth = 0;
      increment += this.#window;
      this.#window *= 2;
    }
    this.#unacknowledged = 0;
    this.#left += increment;
    writeNumberFrame(this.#out, WINDOW_UPDATE, 0, increment);
  }

  /** Gives a stream back what its reader has taken. */
  giveBackTo(stream: Http2Stream<unknown>, length: number): void {
    if (length === 0 || stream.remoteEnded || stream.reset) return;
    stream.unacknowledged += length;
    stream.sinceGrowth += length;
    if (stream.unacknowledged < stream.window / 2) return;
    let increment = stream.unacknowledged;
    if (stream.sinceGrowth >= 2 * stream.window && this.#mayGrow(stream)) {
      // a reader that keeps up is not to wait for our window
      stream.sinceGrowth = 0;
      this.#extra += stream.window;
      increment += stream.window;
      stream.window *= 2;
    }
    stream.unacknowledged = 0;
    stream.receiveWindow += increment;
    writeNumberFrame(this.#out, WINDOW_UPDATE, stream.id, increment);
  }

  #mayGrow({ window, held }: Http2Stream<unknown>): boolean {
    return held === undefined && window < MAX_STREAM_WINDOW && this.#extra + window <= MAX_EXTRA_WINDOW;
  }

  /** A stream is over: by what it had grown, others may. */
  onClosed({ window }: Http2Stream<unknown>): void {
    this.#extra -= window - this.#streamWindow;
  }
}
