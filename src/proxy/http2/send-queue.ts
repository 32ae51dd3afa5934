import type { FloodGuard } from "./flood-guard.ts";
import { DEFAULT_WINDOW, MAX_WINDOW } from "./frames.ts";
import { type Http2Stream, NO_CHUNKS } from "./http2-stream.ts";
import type { MessageWriter } from "./message-writer.ts";
import type { StreamTable } from "./stream-table.ts";

export interface SendQueueOwner<User> {
  /** A stream that was congested is not any more. */
  onStreamWritable(stream: Http2Stream<User>): void;
  /** All that waited has left: what was to follow it does now. */
  onQueueSent(stream: Http2Stream<User>): void;
}

/** Body bytes on their way to the other side, as far as its windows let them go (RFC 9113 section 5.2); what they hold back waits. */
export class SendQueue<User> {
  readonly #writer: MessageWriter;
  readonly #guard: FloodGuard;
  readonly #streams: StreamTable<User>;
  readonly #owner: SendQueueOwner<User>;
  /** What the connection may still be sent. */
  #left = DEFAULT_WINDOW;
  /** Window of a stream at its start, as the other side has set it. */
  #initial = DEFAULT_WINDOW;
  /** All that was sent of bodies. */
  sentBytes = 0;
  /** Streams of which bytes wait. */
  #waiting: Http2Stream<User>[] = [];

  constructor(writer: MessageWriter, guard: FloodGuard, streams: StreamTable<User>, owner: SendQueueOwner<User>) {
    this.#writer = writer;
    this.#guard = guard;
    this.#streams = streams;
    this.#owner = owner;
  }

  get initialWindow(): number {
    return this.#initial;
  }

  /** Sends body bytes as far as windows let them go; the rest is copied and waits. */
  send(stream: Http2Stream<User>, chunk: Uint8Array): void {
    let sent = 0;
    if (stream.queuedBytes === 0) sent = this.#write(stream, chunk);
    if (sent === chunk.length) return;
    if (stream.queuedBytes === 0) this.#waiting.push(stream);
    const rest = Buffer.from(chunk.subarray(sent));
    if (stream.queue === NO_CHUNKS) stream.queue = [];
    stream.queue.push(rest);
    stream.queuedBytes += rest.length;
  }

  /** Writes what the windows allow; returns how much that was. */
  #write(stream: Http2Stream<User>, chunk: Uint8Array): number {
    let at = 0;
    while (at < chunk.length) {
      const size = Math.min(chunk.length - at, this.#writer.maxFrame, stream.sendWindow, this.#left);
      if (size <= 0) break;
      this.#writer.data(stream.id, size === chunk.length ? chunk : chunk.subarray(at, at + size));
      this.#guard.traffic();
      stream.sendWindow -= size;
      this.#left -= size;
      at += size;
    }
    this.sentBytes += at;
    return at;
  }

  /** Whether a source should stop: its output waits for window. onStreamWritable comes later. */
  isCongested(stream: Http2Stream<User>): boolean {
    if (stream.reset || stream.localEnded) return false;
    if (stream.queuedBytes === 0 && stream.sendWindow > 0 && this.#left > 0) return false;
    stream.awaitsDrain = true;
    return true;
  }

  /** What waits of a stream is not wanted any more. */
  drop(stream: Http2Stream<User>): void {
    if (stream.queuedBytes === 0) return;
    stream.queue = NO_CHUNKS;
    stream.queuedBytes = 0;
    stream.endQueued = false;
    // windows may never grow again: what has ended must not wait for that
    const at = this.#waiting.indexOf(stream);
    if (at !== -1) this.#waiting.splice(at, 1);
  }

  /** The connection's window grew. False if it is larger now than windows can be. */
  widen(increment: number): boolean {
    this.#left += increment;
    if (this.#left > MAX_WINDOW) return false;
    this.flush();
    return true;
  }

  /** A stream's window grew. False as above. */
  widenStream(stream: Http2Stream<User>, increment: number): boolean {
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_WINDOW) return false;
    if (stream.queuedBytes > 0) this.flush();
    else this.#maybeWritable(stream);
    return true;
  }

  /** The other side sets the window that streams begin with, and changes with it those of the open ones. False as above. What a larger one
   *  lets out leaves by `flush`. */
  setInitialWindow(value: number): boolean {
    const change = value - this.#initial;
    this.#initial = value;
    for (const stream of this.#streams.list()) {
      stream.sendWindow += change;
      if (stream.sendWindow > MAX_WINDOW) return false;
    }
    return true;
  }

  /** Windows grew: every waiting stream gets its turn. */
  flush(): void {
    const waiting = this.#waiting;
    if (waiting.length > 0) this.#waiting = [];
    for (const stream of waiting) {
      if (stream.reset) continue;
      this.#flushQueue(stream);
      if (stream.queuedBytes > 0) this.#waiting.push(stream);
      else if (stream.endQueued) this.#owner.onQueueSent(stream);
    }
    for (const stream of this.#streams.list()) if (stream.awaitsDrain) this.#maybeWritable(stream);
  }

  #flushQueue(stream: Http2Stream<User>): void {
    const { queue } = stream;
    while (queue.length > 0) {
      const chunk = queue[0] as Uint8Array;
      const sent = this.#write(stream, chunk);
      stream.queuedBytes -= sent;
      if (sent < chunk.length) {
        if (sent > 0) queue[0] = chunk.subarray(sent);
        return;
      }
      queue.shift();
    }
  }

  #maybeWritable(stream: Http2Stream<User>): void {
    if (!stream.awaitsDrain || stream.reset || stream.queuedBytes > 0) return;
    if (stream.sendWindow <= 0 || this.#left <= 0) return;
    stream.awaitsDrain = false;
    this.#owner.onStreamWritable(stream);
  }
}
