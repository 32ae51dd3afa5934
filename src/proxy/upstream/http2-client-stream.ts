import type { CountersignError } from "../../core/errors.ts";
import type { OutgoingRequest, UpstreamReceiver, UpstreamStream } from "../http-streams.ts";
import { isHopByHop } from "../http1/hop-by-hop.ts";
import type { Fields, ResponseHead } from "../http1/http1-events.ts";
import { webSocketAccept } from "../http1/websocket-accept.ts";
import { welcomesTrailers } from "../http1/write-head.ts";
import { CANCEL, NO_ERROR } from "../http2/frames.ts";
import type { Http2Codec } from "../http2/http2-codec.ts";
import type { Http2Stream } from "../http2/http2-stream.ts";
import type { SocketTransport } from "../transport.ts";
import type { ClientStreamUser } from "./client-stream-user.ts";
import type { EndpointLoad } from "./endpoint-load.ts";

/** The connection that carries a call's stream beside others. */
export interface CallCarrier {
  readonly load: EndpointLoad;
  readonly scheme: "http" | "https";
  /** Calls that it has carried or carries. */
  readonly calls: number;
  /** Whether a large answer is to be expected. */
  readonly expectsMuch: boolean;
  noteCall(): void;
  /** A call is over whose answer had so many bytes. */
  noteAnswer(bytes: number): void;
}

/** One call's stream of an HTTP/2 connection to an upstream. It is opened by `send`. */
export class Http2ClientStream implements UpstreamStream, ClientStreamUser {
  readonly #carrier: CallCarrier;
  readonly #codec: Http2Codec<ClientStreamUser>;
  readonly #transport: SocketTransport;
  #stream: Http2Stream<ClientStreamUser> | undefined;
  receiver: UpstreamReceiver | undefined;
  #upgrade: string | undefined;
  #webSocketKey: string | undefined;
  #isTunnel = false;
  #awaitsTransport = false;
  readonly callsBefore: number;
  /** As in Http1ClientConnection. */
  #sentMs = -1;
  /** Of the answer's body, bytes. */
  #received = 0;

  constructor(carrier: CallCarrier, codec: Http2Codec<ClientStreamUser>, transport: SocketTransport) {
    this.#carrier = carrier;
    this.#codec = codec;
    this.#transport = transport;
    this.callsBefore = carrier.calls;
  }

  send(request: OutgoingRequest, receiver: UpstreamReceiver): void {
    const codec = this.#codec;
    this.receiver = receiver;
    this.#sentMs = this.#carrier.load.begin();
    this.#carrier.noteCall();
    const { upgrade } = request;
    const method = upgrade === undefined ? request.method : "CONNECT";
    const stream = codec.open(method);
    stream.allowance = receiver.allowance;
    this.#stream = stream;
    this.#upgrade = upgrade;
    this.#webSocketKey = request.webSocketKey;
    stream.user = this;
    codec.beginHeaders(stream);
    try {
      this.#writeFields(request, method);
    } catch (error) {
      codec.dropHeaders(stream);
      throw error;
    }
    codec.endHeaders(stream, false);
    this.#transport.touch();
  }

  #writeFields(request: OutgoingRequest, method: string): void {
    const codec = this.#codec;
    const { upgrade, framing } = request;
    codec.field(":method", method);
    if (upgrade !== undefined) codec.field(":protocol", upgrade);
    codec.field(":scheme", this.#carrier.scheme);
    if (request.authority !== "") codec.field(":authority", request.authority);
    codec.field(":path", request.target);
    if (request.lines !== undefined) codec.lines(request.lines);
    const { fields } = request;
    for (let at = 0; at < fields.length; at += 2) {
      const name = fields[at] as string;
      if (name === "te") {
        if (welcomesTrailers(fields[at + 1] as string)) codec.field("te", "trailers");
      } else if (!isHopByHop(name)) codec.field(name, fields[at + 1] as string);
    }
    if (framing.kind === "length" && upgrade === undefined) codec.field("content-length", String(framing.length));
  }

  data(chunk: Uint8Array): void {
    if (this.#stream === undefined) return;
    this.#codec.data(this.#stream, chunk);
    this.#transport.touchSoon();
  }

  end(trailers: Fields | undefined): void {
    // an upgrade's request has no body, and yet its stream stays open: it is the tunnel
    if (this.#stream === undefined || (this.#upgrade !== undefined && !this.#isTunnel)) return;
    this.#codec.end(this.#stream, trailers);
    // behind the end, which rides on the frame before
    if (this.#carrier.expectsMuch) this.#codec.expectMuch(this.#stream);
    this.#transport.touch();
  }

  becomeTunnel(): void {
    this.#isTunnel = true;
  }

  abort(timedOut: boolean): void {
    this.receiver = undefined;
    if (timedOut) this.#carrier.load.failed();
    if (this.#stream === undefined) return;
    this.#codec.resetStream(this.#stream, this.#stream.remoteEnded ? NO_ERROR : CANCEL);
    this.#transport.touch();
  }

  get congested(): boolean {
    const transport = this.#transport.congested;
    if (transport) this.#awaitsTransport = true;
    return (this.#stream !== undefined && this.#codec.isCongested(this.#stream)) || transport;
  }

  onStreamWritable(): void {
    if (!this.#awaitsTransport) this.receiver?.onUpstreamDrain();
  }

  onTransportWritable(): void {
    if (!this.#awaitsTransport) return;
    this.#awaitsTransport = false;
    if (this.#stream !== undefined && !this.#codec.isCongested(this.#stream)) this.receiver?.onUpstreamDrain();
  }

  sipResponse(): void {
    // a head comes whatever is paused
    this.pauseResponse();
  }

  pauseResponse(): void {
    if (this.#stream !== undefined) this.#codec.pauseData(this.#stream);
  }

  resumeResponse(): void {
    if (this.#stream === undefined) return;
    this.#codec.resume(this.#stream);
    this.#transport.touch();
  }

  onHead(head: ResponseHead): void {
    if (head.status >= 200) this.#carrier.load.answered(this.#sentMs, head.status);
    const upgrade = this.#upgrade;
    if (upgrade === undefined || head.status < 200 || head.status >= 300) {
      this.receiver?.onResponseHead(head);
      return;
    }
    // the success of an extended CONNECT is what HTTP/1.1 calls 101 (RFC 8441 section 5)
    const key = this.#webSocketKey;
    const accept = key === undefined ? [] : ["sec-websocket-accept", webSocketAccept(key)];
    const lower = head.fields.lower.filter((name) => name !== "sec-websocket-accept");
    const raw = head.fields.raw.filter((_, at) => head.fields.lower[at >> 1] !== "sec-websocket-accept");
    const fields: Fields = {
      raw: [...raw, ...accept],
      lower: accept.length === 0 ? lower : [...lower, "sec-websocket-accept"],
    };
    this.receiver?.onResponseHead({
      ...head,
      status: 101,
      reason: "Switching Protocols",
      fields,
      framing: { kind: "none" },
      upgrade,
    });
  }

  onData(chunk: Uint8Array): void {
    this.#received += chunk.length;
    this.receiver?.onResponseData(chunk);
  }

  onEnd(trailers: Fields | undefined): void {
    this.receiver?.onResponseEnd(trailers);
  }

  onClosed(): void {
    this.#callOver();
  }

  #callOver(): void {
    if (this.#sentMs === -1) return;
    this.#sentMs = -1;
    this.#carrier.noteAnswer(this.#received);
    this.#carrier.load.ended();
  }

  fail(error: CountersignError): void {
    const { receiver } = this;
    this.receiver = undefined;
    this.#callOver();
    receiver?.onUpstreamFailed(error);
  }
}
