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
  /** Of a stream whose reader takes what comes. */
  readonly #fullWindow: number;
  /** What may still come on the connection. */
  #left: number;
  /** The connection's window that we keep open. */
  #window: number;
  /** Used up, and not given back yet. */
  #unacknowledged = 0;
  #sinceGrowth = 0;
  /** By how much streams' windows have grown beyond the full one, all together. */
  #extra = 0;

  constructor(out: OutputBuffer, connectionWindow: number, streamWindow: number, fullWindow: number) {
    this.#out = out;
    this.#fullWindow = fullWindow;
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
    stream.allowance?.earn(stream.unacknowledged);
    const increment = stream.unacknowledged + this.#grow(stream);
    stream.unacknowledged = 0;
    stream.receiveWindow += increment;
    writeNumberFrame(this.#out, WINDOW_UPDATE, stream.id, increment);
  }

  /** Gives a stream the full window now, unless its reader rests. */
  fill(stream: Http2Stream<unknown>): void {
    if (stream.remoteEnded || stream.reset || stream.window >= this.#fullWindow) return;
    const increment = this.#grow(stream);
    if (increment === 0) return;
    stream.receiveWindow += increment;
    writeNumberFrame(this.#out, WINDOW_UPDATE, stream.id, increment);
  }

  /** Makes a stream's window larger, if it may be; returns by how much. A reader that keeps up is not to wait for our window. */
  #grow(stream: Http2Stream<unknown>): number {
    const { window } = stream;
    const isFull = window >= this.#fullWindow;
    if (stream.paused || stream.held !== undefined) return 0;
    if (isFull && (stream.sinceGrowth < 2 * window || window >= MAX_STREAM_WINDOW)) return 0;
    const more = isFull ? window : this.#fullWindow - window;
    if (isFull && this.#extra + more > MAX_EXTRA_WINDOW) return 0;
    if (stream.allowance?.take(more) === false) return 0;
    if (isFull) this.#extra += more;
    stream.sinceGrowth = 0;
    stream.window += more;
    return more;
  }

  /** A stream is over: by what it had grown, others may. */
  onClosed({ window, allowance }: Http2Stream<unknown>): void {
    this.#extra -= Math.max(0, window - this.#fullWindow);
    allowance?.giveBack(window - this.#streamWindow);
  }
}
