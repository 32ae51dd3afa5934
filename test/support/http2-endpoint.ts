import { parseSidecarConfig } from "../../src/config/load-sidecar-config.ts";
import type { Fields, RequestHead, ResponseHead } from "../../src/proxy/http1/http1-events.ts";
import { OutputBuffer } from "../../src/proxy/http1/output-buffer.ts";
import { Http2Codec } from "../../src/proxy/http2/http2-codec.ts";
import type { Http2Fault } from "../../src/proxy/http2/http2-fault.ts";
import type { Http2Handler } from "../../src/proxy/http2/http2-handler.ts";
import type { Http2Limits } from "../../src/proxy/http2/http2-limits.ts";
import type { Http2Stream } from "../../src/proxy/http2/http2-stream.ts";

export const HTTP2_LIMITS: Http2Limits = {
  headBytes: 61_440,
  headFields: 100,
  requestLine: 16_384,
  streams: 100,
  streamWindow: 65_536,
  connectionWindow: 1 << 20,
  http2: parseSidecarConfig("{}", "countersign.yaml", { SPIFFE_ENDPOINT_SOCKET: "unix:///agent.sock" }).config.limits
    .http2,
};

/** What a codec has told of one stream. */
export interface SeenStream {
  readonly stream: Http2Stream<SeenStream>;
  request: RequestHead | undefined;
  readonly responses: ResponseHead[];
  fault: Http2Fault | undefined;
  body: Buffer;
  ended: boolean;
  trailers: Fields | undefined;
  reset: number | undefined;
  detail: string | undefined;
  writable: number;
  closed: boolean;
}

/** A codec without a socket, and what it told. */
export class Http2Endpoint implements Http2Handler<SeenStream> {
  readonly out: OutputBuffer = new OutputBuffer();
  readonly codec: Http2Codec<SeenStream>;
  readonly seen = new Map<number, SeenStream>();
  readonly goaways: number[] = [];
  readonly refused: number[] = [];
  settings = 0;
  idle = 0;
  nowMs = 0;
  /** Called inside the event, as a proxy would act. */
  onRequestSeen: ((seen: SeenStream) => void) | undefined;

  constructor(role: "server" | "client", limits: Partial<Http2Limits> = {}) {
    this.codec = new Http2Codec(role, this.out, this, { ...HTTP2_LIMITS, ...limits });
  }

  of(stream: Http2Stream<SeenStream>): SeenStream {
    stream.user ??= {
      stream,
      request: undefined,
      responses: [],
      fault: undefined,
      body: Buffer.alloc(0),
      ended: false,
      trailers: undefined,
      reset: undefined,
      detail: undefined,
      writable: 0,
      closed: false,
    };
    this.seen.set(stream.id, stream.user);
    return stream.user;
  }

  push(bytes: Uint8Array): ReturnType<Http2Codec<SeenStream>["push"]> {
    return this.codec.push(bytes, this.nowMs);
  }

  onRequest(stream: Http2Stream<SeenStream>, head: RequestHead): void {
    const seen = this.of(stream);
    seen.request = head;
    this.onRequestSeen?.(seen);
  }

  onBadRequest(stream: Http2Stream<SeenStream>, fault: Http2Fault): void {
    this.of(stream).fault = fault;
    this.codec.resetStream(stream, 1);
  }

  onResponse(stream: Http2Stream<SeenStream>, head: ResponseHead): void {
    this.of(stream).responses.push(head);
  }

  onData(stream: Http2Stream<SeenStream>, chunk: Uint8Array): void {
    const seen = this.of(stream);
    seen.body = Buffer.concat([seen.body, chunk]);
  }

  onEnd(stream: Http2Stream<SeenStream>, trailers: Fields | undefined): void {
    const seen = this.of(stream);
    if (seen.ended) throw new Error("a stream ended twice");
    seen.ended = true;
    seen.trailers = trailers;
  }

  onReset(stream: Http2Stream<SeenStream>, errorCode: number, detail: string): void {
    const seen = this.of(stream);
    seen.reset = errorCode;
    seen.detail = detail;
  }

  onStreamWritable(stream: Http2Stream<SeenStream>): void {
    this.of(stream).writable++;
  }

  onRefused(streamId: number): void {
    this.refused.push(streamId);
  }

  onStreamClosed(stream: Http2Stream<SeenStream>): void {
    this.of(stream).closed = true;
  }

  onSettings(): void {
    this.settings++;
  }

  onGoaway(lastStreamId: number): void {
    this.goaways.push(lastStreamId);
  }

  onIdle(): void {
    this.idle++;
  }

  /** Client: a request with these fields; its body follows by `codec.data` and `codec.end`. */
  request(method: string, path: string, fields: readonly string[] = []): SeenStream {
    const stream = this.codec.open(method);
    this.codec.beginHeaders(stream);
    this.codec.field(":method", method);
    this.codec.field(":scheme", "https");
    this.codec.field(":authority", "a.example");
    this.codec.field(":path", path);
    for (let at = 0; at < fields.length; at += 2) this.codec.field(fields[at] ?? "", fields[at + 1] ?? "");
    this.codec.endHeaders(stream, false);
    return this.of(stream);
  }

  /** Server: the head of a response. */
  respond(seen: SeenStream, status: number, fields: readonly string[] = []): void {
    this.codec.beginHeaders(seen.stream);
    this.codec.status(status);
    for (let at = 0; at < fields.length; at += 2) this.codec.field(fields[at] ?? "", fields[at + 1] ?? "");
    this.codec.endHeaders(seen.stream, false);
  }
}

/** Carries bytes between two endpoints until neither has any left. `cut` says into which pieces. */
export function settle(client: Http2Endpoint, server: Http2Endpoint, cut: (bytes: Buffer) => Buffer[] = whole): void {
  for (;;) {
    const toServer = client.out.take();
    const toClient = server.out.take();
    if (toServer.length === 0 && toClient.length === 0) return;
    for (const piece of cut(toServer)) server.push(piece);
    for (const piece of cut(toClient)) client.push(piece);
  }
}

function whole(bytes: Buffer): Buffer[] {
  return bytes.length === 0 ? [] : [bytes];
}
