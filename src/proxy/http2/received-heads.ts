import type { BodyDelivery } from "./body-delivery.ts";
import type { CodecParts } from "./codec-parts.ts";
import * as frames from "./frames.ts";
import type { BlockSink } from "./header-block.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { DEFAULT_TABLE } from "./hpack-dynamic-table.ts";
import type { Http2Fault } from "./http2-fault.ts";
import { Http2Stream } from "./http2-stream.ts";
import type { PeerSettings } from "./peer-settings.ts";
import { readRequest } from "./read-request.ts";
import { readResponse, readTrailers } from "./read-response.ts";
import type { Shutdown } from "./shutdown.ts";
import type { StreamEndings } from "./stream-endings.ts";

/** Interim responses that one stream may have, as in HTTP/1.1. Counted by stream: one upstream's 102s must not end its neighbours. */
const MAX_INTERIM_RESPONSES = 100;
const HEAD_TOO_LARGE: Http2Fault = {
  code: "E_HTTP_HEAD_TOO_LARGE",
  detail: "the header section is larger than the limit",
};

/** What a whole header block is on its stream: a request, which opens it, a response's head, or trailers (RFC 9113 section 8.1). */
export class ReceivedHeads<User> implements BlockSink {
  readonly #parts: CodecParts<User>;
  readonly #endings: StreamEndings<User>;
  readonly #delivery: BodyDelivery<User>;
  readonly #peer: PeerSettings;
  readonly #shutdown: Shutdown<User>;
  readonly #decoder: HpackDecoder;
  #settingsInForce = false;

  constructor(
    parts: CodecParts<User>,
    endings: StreamEndings<User>,
    delivery: BodyDelivery<User>,
    peer: PeerSettings,
    shutdown: Shutdown<User>,
  ) {
    this.#parts = parts;
    this.#endings = endings;
    this.#delivery = delivery;
    this.#peer = peer;
    this.#shutdown = shutdown;
    const { headBytes, headFields, http2 } = parts.limits;
    this.#decoder = new HpackDecoder({
      tableBytes: DEFAULT_TABLE,
      announcedTableBytes: http2.headerTable,
      listBytes: headBytes,
      fields: headFields,
    });
  }

  onBlock(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { conduct, streams, numbers, role } = this.#parts;
    if (!this.#settingsInForce && this.#peer.knowsOurs) {
      this.#settingsInForce = true;
      this.#decoder.settingsAcknowledged();
    }
    // decoded whatever becomes of it: the table is the connection's
    const broken = this.#decoder.decode(bytes, start, end);
    if (broken !== undefined) return conduct.fail(frames.COMPRESSION_ERROR, broken, "E_HTTP2_COMPRESSION");
    const ended = (flags & frames.END_STREAM) !== 0;
    const stream = streams.get(streamId);
    if (stream !== undefined) return this.#onMore(stream, ended);
    if (role === "client") {
      if (numbers.isClosedByUs(streamId)) return true;
      return numbers.isIdle(streamId)
        ? conduct.fail(frames.PROTOCOL_ERROR, "HEADERS on a stream that was never opened")
        : conduct.fail(frames.STREAM_CLOSED, "HEADERS on a stream that has ended");
    }
    if (streamId % 2 === 0) return conduct.fail(frames.PROTOCOL_ERROR, "a client opened an even stream");
    if (!numbers.isNew(streamId)) {
      if (numbers.isClosedByUs(streamId)) return true;
      return conduct.fail(frames.STREAM_CLOSED, "HEADERS on a stream that has ended");
    }
    // behind our final GOAWAY nothing is processed: the other side may send it elsewhere
    if (this.#shutdown.isFinal) {
      numbers.noteDiscarded(streamId);
      return true;
    }
    numbers.notePeer(streamId);
    return streams.size >= this.#parts.limits.streams ? this.#refuse(streamId) : this.#onRequest(streamId, ended);
  }

  /** A stream above the limit. */
  #refuse(streamId: number): boolean {
    const { conduct, numbers, handler } = this.#parts;
    this.#endings.writeReset(streamId, frames.REFUSED_STREAM);
    // RFC 9113 section 6.5.3: a setting is in force once it is acknowledged; clients that open many streams at once do so before
    const isForgiven = !this.#peer.knowsOurs && numbers.forgivesEarly(streamId);
    if (!isForgiven && conduct.floods("provokedResets")) return false;
    handler.onRefused(streamId);
    return conduct.goesOn;
  }

  #onRequest(streamId: number, ended: boolean): boolean {
    const { conduct, streams, queue, limits, handler } = this.#parts;
    const stream = new Http2Stream<User>(streamId, queue.initialWindow, limits.streamWindow);
    streams.add(stream);
    const head = this.#decoder.tooLarge
      ? HEAD_TOO_LARGE
      : readRequest(this.#decoder.fields, this.#decoder.count, ended, limits);
    if ("code" in head) {
      stream.remoteEnded = ended;
      if (conduct.floods("provokedResets")) return false;
      handler.onBadRequest(stream, head);
      this.#endings.closeIfEnded(stream);
      return conduct.goesOn;
    }
    stream.method = head.method;
    if (head.framing.kind === "length") stream.expected = head.framing.length;
    handler.onRequest(stream, head);
    if (ended) this.#delivery.end(stream, undefined);
    return conduct.goesOn;
  }

  /** HEADERS on an open stream: trailers, or (client) a response's head. */
  #onMore(stream: Http2Stream<User>, ended: boolean): boolean {
    if (stream.remoteEnded) {
      return this.#endings.break(stream, frames.STREAM_CLOSED, "HEADERS behind the end of the stream");
    }
    if (this.#decoder.tooLarge) {
      return this.#endings.break(stream, frames.ENHANCE_YOUR_CALM, "a header section larger than the limit");
    }
    return this.#parts.role === "server" || stream.finalHeadSeen
      ? this.#onTrailers(stream, ended)
      : this.#onResponse(stream, ended);
  }

  #onTrailers(stream: Http2Stream<User>, ended: boolean): boolean {
    if (!ended) return this.#endings.break(stream, frames.PROTOCOL_ERROR, "trailers that do not end the stream");
    const trailers = readTrailers(this.#decoder.fields, this.#decoder.count);
    if (trailers !== undefined && "code" in trailers) {
      return this.#endings.break(stream, frames.PROTOCOL_ERROR, trailers.detail);
    }
    this.#delivery.end(stream, trailers);
    return this.#parts.conduct.goesOn;
  }

  #onResponse(stream: Http2Stream<User>, ended: boolean): boolean {
    const head = readResponse(this.#decoder.fields, this.#decoder.count, ended, stream.method);
    if ("code" in head || (head.status < 200 && ended)) {
      const detail = "code" in head ? head.detail : "an interim response ended the stream";
      return this.#endings.break(stream, frames.PROTOCOL_ERROR, detail);
    }
    if (head.status < 200) {
      if (++stream.interims > MAX_INTERIM_RESPONSES) {
        return this.#endings.break(stream, frames.ENHANCE_YOUR_CALM, "too many interim responses");
      }
    } else {
      stream.finalHeadSeen = true;
      if (head.framing.kind === "length") stream.expected = head.framing.length;
      // whatever it announces, no body follows; behind a CONNECT's success comes the tunnel
      else if (head.framing.kind === "none" && (stream.method !== "CONNECT" || head.status >= 300)) stream.expected = 0;
    }
    this.#parts.handler.onResponse(stream, head);
    if (ended) this.#delivery.end(stream, undefined);
    return this.#parts.conduct.goesOn;
  }
}
