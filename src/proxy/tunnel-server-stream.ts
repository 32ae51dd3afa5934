import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import type { Http2Codec } from "./http2/http2-codec.ts";
import type { Http2Stream } from "./http2/http2-stream.ts";
import type { StreamUser } from "./http2-server-stream.ts";
import { StreamTransport } from "./stream-transport.ts";
import type { Transport } from "./transport.ts";

/** Makes a caller's stream stand for a connection of its own, and tells the caller so at once: what becomes of it is its listener's to say. */
export function acceptTunnel(
  codec: Http2Codec<StreamUser>,
  stream: Http2Stream<StreamUser>,
  carrier: Transport,
): StreamTransport<StreamUser> {
  const transport = new StreamTransport(codec, stream, carrier);
  stream.user = new TunnelServerStream(transport);
  codec.beginHeaders(stream);
  codec.status(200);
  codec.endHeaders(stream, false);
  carrier.touch();
  return transport;
}

/** A tunnel's stream. Its calls, time limits and policy are those of the connection that it stands for. */
class TunnelServerStream implements StreamUser {
  readonly deadlineMs = Number.POSITIVE_INFINITY;
  readonly calls = 0;
  readonly isTunnel = true;
  readonly #transport: StreamTransport<StreamUser>;

  constructor(transport: StreamTransport<StreamUser>) {
    this.#transport = transport;
  }

  onDeadline(): void {
    // has none
  }

  reauthorize(): void {
    // its listener does
  }

  onTick(): void {
    // its listener does
  }

  cut(code: ErrorCode, detail: string): void {
    this.#transport.onClosed(new CountersignError(code, detail));
  }

  onData(chunk: Uint8Array): void {
    this.#transport.onData(chunk);
  }

  onEnd(): void {
    this.#transport.onEnd();
  }

  onReset(): void {
    this.#transport.onClosed(undefined);
  }

  onConnectionGone(): void {
    this.#transport.onClosed(undefined);
  }

  onStreamWritable(): void {
    this.#transport.onStreamWritable();
  }

  onTransportWritable(): void {
    this.#transport.onCarrierWritable();
  }

  onClosed(): void {
    this.#transport.onClosed(undefined);
  }
}
