import { OutputBuffer } from "./http1/output-buffer.ts";
import { CANCEL } from "./http2/frames.ts";
import type { Http2Codec } from "./http2/http2-codec.ts";
import type { Http2Stream } from "./http2/http2-stream.ts";
import { flushAtTurnEnd, NOBODY, type Transport, type TransportOwner } from "./transport.ts";

/** From here on waiting bytes are handed to the stream at once. */
const HIGH_WATER_BYTES = 64 * 1024;

/** A stream of a shared HTTP/2 connection that stands for a connection of its own. It begins paused. */
export class StreamTransport<User> implements Transport {
  readonly out: OutputBuffer = new OutputBuffer();
  readonly #codec: Http2Codec<User>;
  readonly #stream: Http2Stream<User>;
  /** The connection's own. */
  readonly #carrier: Transport;
  owner: TransportOwner = NOBODY;
  /** Told once that it is over, whoever owns it by then. */
  onceClosed: (() => void) | undefined;
  #dirty = false;
  #ending = false;
  #closed = false;
  #error: Error | undefined;
  #awaitsCarrier = false;

  constructor(codec: Http2Codec<User>, stream: Http2Stream<User>, carrier: Transport) {
    this.#codec = codec;
    this.#stream = stream;
    this.#carrier = carrier;
    codec.pause(stream);
  }

  get closed(): boolean {
    return this.#closed;
  }

  get error(): Error | undefined {
    return this.#error;
  }

  get congested(): boolean {
    if (this.#closed) return false;
    const carrier = this.#carrier.congested;
    if (carrier) this.#awaitsCarrier = true;
    return this.#codec.isCongested(this.#stream) || carrier;
  }

  get backlog(): number {
    return this.out.length + this.#stream.queuedBytes;
  }

  touch(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    flushAtTurnEnd(this);
  }

  touchSoon(): void {
    if (this.out.length >= HIGH_WATER_BYTES) this.flush();
    else this.touch();
  }

  writeBytes(chunk: Uint8Array): void {
    if (this.#closed || this.#ending) return;
    if (this.out.length > 0) this.flush();
    this.#codec.data(this.#stream, chunk);
    this.#carrier.touchSoon();
  }

  flush(): void {
    this.#dirty = false;
    if (this.out.length === 0) return;
    if (this.#closed || this.#ending) this.out.reset();
    else {
      this.#codec.data(this.#stream, this.out.take());
      this.#carrier.touchSoon();
    }
  }

  pause(): void {
    this.#codec.pause(this.#stream);
  }

  resume(): void {
    if (this.#closed) return;
    this.#codec.resume(this.#stream);
    this.#carrier.touch();
  }

  end(): void {
    if (this.#ending || this.#closed) return;
    this.flush();
    this.#ending = true;
    this.#codec.end(this.#stream, undefined);
    this.#carrier.touch();
  }

  destroy(): void {
    this.abort();
  }

  abort(error?: Error): void {
    this.out.reset();
    if (this.#closed) return;
    this.#error = error;
    this.#codec.resetStream(this.#stream, CANCEL);
    this.#carrier.touch();
  }

  // ── from the connection ──

  onData(chunk: Uint8Array): void {
    this.owner.onBytes(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
  }

  onEnd(): void {
    this.owner.onFin();
  }

  onStreamWritable(): void {
    if (!this.#awaitsCarrier) this.owner.onWritable();
  }

  onCarrierWritable(): void {
    if (!this.#awaitsCarrier) return;
    this.#awaitsCarrier = false;
    if (!this.#codec.isCongested(this.#stream)) this.owner.onWritable();
  }

  /** The stream is over, in order or not. */
  onClosed(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#error ??= error;
    this.owner.onGone(this.#error);
    this.onceClosed?.();
  }
}
