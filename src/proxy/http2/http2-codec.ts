import type { ErrorCode } from "../../core/error-codes.ts";
import type { HeadLines } from "../http1/head-lines.ts";
import type { Fields, Http1Limits, RequestHead, ResponseHead } from "../http1/http1-events.ts";
import type { OutputBuffer } from "../http1/output-buffer.ts";
import { FloodGuard, type FloodKind, type FloodLimits } from "./flood-guard.ts";
import { FrameReader, type FrameSink } from "./frame-reader.ts";
import * as frames from "./frames.ts";
import { HeldBytes } from "./held-bytes.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import type { Http2Fault } from "./http2-fault.ts";
import { Http2Stream } from "./http2-stream.ts";
import { MessageWriter } from "./message-writer.ts";
import { readRequest } from "./read-request.ts";
import { readResponse, readTrailers } from "./read-response.ts";
import { ReceiveWindows } from "./receive-windows.ts";
import { SendQueue } from "./send-queue.ts";
import { StreamTable } from "./stream-table.ts";

export interface Http2Limits extends Http1Limits {
  /** Streams that the other side may have open at once (RFC 9113 section 5.1.2). */
  readonly streams: number;
  /** Window of a stream at its start, octets: also what is held for one whose reader has stopped. */
  readonly streamWindow: number;
  /** What a stream's window grows to at once where its reader takes what comes, octets; `streamWindow` without it. */
  readonly fullWindow?: number;
  /** Window of a connection, octets. */
  readonly connectionWindow: number;
  readonly flood: FloodLimits;
}

/** Why a connection ends: the code of the catalogue, what was broken, and the error code that the other side was told. */
export interface Http2Violation {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** Receives what the other side says, in wire order. Bytes are valid during the call only. A handler may write and reset from inside an
 *  event; it must not push or throw. */
export interface Http2Handler<User> {
  /** Server: a request; onEnd follows, at once where it has no body. */
  onRequest(stream: Http2Stream<User>, head: RequestHead): void;
  /** Server: a request that breaks HTTP's rules or passes a limit. The handler answers or resets it. */
  onBadRequest(stream: Http2Stream<User>, fault: Http2Fault): void;
  /** Client: an interim or the final response. */
  onResponse(stream: Http2Stream<User>, head: ResponseHead): void;
  onData(stream: Http2Stream<User>, chunk: Uint8Array): void;
  onEnd(stream: Http2Stream<User>, trailers: Fields | undefined): void;
  /** The stream is over before its end: the other side reset it (with that error code), or broke its rules. */
  onReset(stream: Http2Stream<User>, errorCode: number, detail: string): void;
  /** A stream that was congested is not any more. */
  onStreamWritable(stream: Http2Stream<User>): void;
  /** The other side's settings came, for the first time or anew. */
  onSettings(): void;
  /** The other side takes no stream above this one. */
  onGoaway(lastStreamId: number, errorCode: number): void;
  /** Server: a request came above the limit of streams. It was refused unread, and may be sent again. */
  onRefused(streamId: number): void;
  /** A stream has ended, in order or not: it counts no more. */
  onStreamClosed(stream: Http2Stream<User>): void;
  /** The last stream has ended. */
  onIdle(): void;
}

/** Interim responses that one stream may have, as in HTTP/1.1. Counted by stream: one upstream's 102s must not end its neighbours. */
const MAX_INTERIM_RESPONSES = 100;
/** Larger DATA frames cost less; other frames are judged by the head limit. */
const OUR_MAX_FRAME = 64 * 1024;
const TABLE_BYTES = 4096;
const MAX_CONTINUATIONS = 32;
/** How many streams above the limit are refused without being held against a client that may not have read the limit yet. */
const MAX_EARLY_REFUSALS = 1000;
/** How many streams that we have reset are remembered at least: what the other side had sent on them before it heard is no fault. */
const REMEMBERED_RESETS = 256;
/** A PING of ours that asks how far the other side has read (RFC 9113 section 6.8). */
const DRAIN_PING = 0x64726169;

const NO_BYTES = Buffer.alloc(0);

/** One HTTP/2 connection's protocol (RFC 9113, RFC 8441), client or server: bytes in, events out, frames appended to the output buffer. No I/O and no
 *  clock: `push` is told the time. */
export class Http2Codec<User> implements FrameSink {
  readonly #role: "server" | "client";
  readonly #out: OutputBuffer;
  readonly #handler: Http2Handler<User>;
  readonly #limits: Http2Limits;
  readonly #reader = new FrameReader(this);
  readonly #decoder: HpackDecoder;
  readonly #writer: MessageWriter;
  readonly #windows: ReceiveWindows;
  readonly #guard: FloodGuard;
  readonly #streams = new StreamTable<User>();
  readonly #queue: SendQueue<User>;
  #violation: Http2Violation | undefined;
  #nowMs = 0;
  #prefaceAt: number;
  #gotSettings = false;
  #lastPeerStream = 0;
  /** The other side has acknowledged our settings: it knows how many streams it may open. */
  #settingsAcknowledged = false;
  #earlyRefusals = 0;
  /** The last stream that was refused before that. */
  #lastEarlyRefusal = 0;
  /** The last stream that the other side opened behind our final GOAWAY: such are read and dropped (RFC 9113 section 6.8). */
  #lastDiscarded = 0;
  #nextStream = 1;
  #shuttingDown: "no" | "asked" | "final" = "no";
  #peerGoaway = Number.POSITIVE_INFINITY;
  // ── what the other side has told ──
  #peerStreams = Number.POSITIVE_INFINITY;
  #peerExtendedConnect = false;
  // ── the header block or DATA frame under way ──
  #blockStream = 0;
  /** The number of the frame that began the block. */
  #blockFrame = 0;
  #blockFlags = 0;
  #block: Uint8Array = NO_BYTES;
  #continuations = 0;
  #dataStream: Http2Stream<User> | undefined;
  #dataFlags = 0;
  #dataLength = 0;
  #padding = -1;
  #payloadLeft = 0;
  readonly #recentlyReset: number[] = [];

  constructor(role: "server" | "client", out: OutputBuffer, handler: Http2Handler<User>, limits: Http2Limits) {
    this.#role = role;
    this.#out = out;
    this.#handler = handler;
    this.#limits = limits;
    this.#guard = new FloodGuard(limits.flood);
    this.#decoder = new HpackDecoder({
      tableBytes: TABLE_BYTES,
      listBytes: limits.headBytes,
      fields: limits.headFields,
    });
    this.#prefaceAt = role === "server" ? 0 : frames.CLIENT_PREFACE.length;
    this.#writer = new MessageWriter(out);
    this.#windows = new ReceiveWindows(
      out,
      limits.connectionWindow,
      limits.streamWindow,
      limits.fullWindow ?? limits.streamWindow,
    );
    this.#queue = new SendQueue(this.#writer, this.#guard, this.#streams, {
      onStreamWritable: (stream) => handler.onStreamWritable(stream),
      onQueueSent: (stream) => this.#endQueued(stream),
    });
    this.#greet();
  }

  #greet(): void {
    const { streams, streamWindow, connectionWindow, headBytes } = this.#limits;
    const common = [
      frames.SETTINGS_INITIAL_WINDOW_SIZE,
      streamWindow,
      frames.SETTINGS_MAX_FRAME_SIZE,
      OUR_MAX_FRAME,
      frames.SETTINGS_MAX_HEADER_LIST_SIZE,
      headBytes,
    ];
    if (this.#role === "client") {
      this.#out.latin1(frames.CLIENT_PREFACE);
      frames.writeSettings(this.#out, [frames.SETTINGS_ENABLE_PUSH, 0, ...common]);
    } else {
      const own = [frames.SETTINGS_MAX_CONCURRENT_STREAMS, streams, frames.SETTINGS_ENABLE_CONNECT_PROTOCOL, 1];
      frames.writeSettings(this.#out, [...own, ...common]);
    }
    const more = connectionWindow - frames.DEFAULT_WINDOW;
    if (more > 0) frames.writeNumberFrame(this.#out, frames.WINDOW_UPDATE, 0, more);
  }

  /** Streams that are open. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** Bytes of bodies that were sent so far. */
  get sentBytes(): number {
    return this.#queue.sentBytes;
  }

  /** The open streams, in no order. */
  streams(): Http2Stream<User>[] {
    return this.#streams.list();
  }

  /** The other side has begun to say something other than DATA, and has not ended it: a head, mostly. Another number for each such thing;
   *  0 if there is none. */
  get headUnderWay(): number {
    return this.#blockStream === 0 ? this.#reader.unfinished : this.#blockFrame;
  }

  /** Whether the other side's settings have come: before that nobody knows that it speaks HTTP/2. */
  get isSettled(): boolean {
    return this.#gotSettings;
  }

  /** Client: whether one more stream can be opened now. */
  get canOpen(): boolean {
    return (
      this.#violation === undefined &&
      this.#peerGoaway === Number.POSITIVE_INFINITY &&
      this.#shuttingDown === "no" &&
      this.#nextStream < frames.MAX_WINDOW - 2 &&
      this.#streams.size < Math.min(this.#peerStreams, this.#limits.streams)
    );
  }

  /** Client: no stream will ever be opened on it again. */
  get isSpent(): boolean {
    return (
      this.#violation !== undefined ||
      this.#peerGoaway !== Number.POSITIVE_INFINITY ||
      this.#shuttingDown !== "no" ||
      this.#nextStream >= frames.MAX_WINDOW - 2
    );
  }

  /** Whether the other side takes extended CONNECT (RFC 8441). */
  get takesExtendedConnect(): boolean {
    return this.#role === "client" && this.#peerExtendedConnect;
  }

  // ── input ──

  /** Takes bytes that came at `nowMs` (monotonic). Returns why the connection is over, if it is: a GOAWAY is written then. */
  push(bytes: Uint8Array, nowMs: number): Http2Violation | undefined {
    if (this.#violation !== undefined) return this.#violation;
    this.#nowMs = nowMs;
    let from = 0;
    while (this.#prefaceAt < frames.CLIENT_PREFACE.length && from < bytes.length) {
      if (bytes[from] !== frames.CLIENT_PREFACE.charCodeAt(this.#prefaceAt)) {
        this.#fail(frames.PROTOCOL_ERROR, "the connection does not begin with HTTP/2's preface");
        return this.#violation;
      }
      from++;
      this.#prefaceAt++;
    }
    this.#reader.push(bytes, from);
    return this.#violation;
  }

  /** The connection is over by our decision or the other side's fault. Always false, for the frame reader. */
  #fail(errorCode: number, detail: string, code: ErrorCode = "E_HTTP2_PROTOCOL"): false {
    if (this.#violation !== undefined) return false;
    this.#violation = { code, detail };
    frames.writeGoaway(this.#out, this.#lastPeerStream, errorCode, detail);
    return false;
  }

  #flood(kind: FloodKind): boolean {
    if (!this.#guard.passes(kind, this.#nowMs)) return false;
    this.#fail(frames.ENHANCE_YOUR_CALM, `too many: ${kind}`, "E_HTTP2_FLOOD");
    return true;
  }

  onFrameStart(type: number, flags: number, streamId: number, length: number): boolean {
    if (!this.#gotSettings && (type !== frames.SETTINGS || (flags & frames.ACK) !== 0)) {
      return this.#fail(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS", "E_HTTP2_PREFACE");
    }
    if (this.#blockStream !== 0 && (type !== frames.CONTINUATION || streamId !== this.#blockStream)) {
      return this.#fail(frames.PROTOCOL_ERROR, "a header block was interrupted by another frame");
    }
    if (length > OUR_MAX_FRAME) return this.#fail(frames.FRAME_SIZE_ERROR, "a frame is larger than our limit");
    switch (type) {
      case frames.DATA:
        return this.#beginData(flags, streamId, length);
      case frames.HEADERS:
      case frames.CONTINUATION:
      case frames.PUSH_PROMISE:
        return true;
      default:
        // what is kept until it is whole is never larger than it has to be
        return length <= frames.MAX_FRAME_BYTES || this.#fail(frames.FRAME_SIZE_ERROR, "a control frame is too large");
    }
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    switch (type) {
      case frames.HEADERS:
        return this.#onHeaders(flags, streamId, bytes, start, end);
      case frames.CONTINUATION:
        return this.#onContinuation(flags, streamId, bytes, start, end);
      case frames.WINDOW_UPDATE:
        return this.#onWindowUpdate(streamId, bytes, start, end);
      case frames.RST_STREAM:
        return this.#onRstStream(streamId, bytes, start, end);
      case frames.SETTINGS:
        return this.#onSettings(flags, streamId, bytes, start, end);
      case frames.PING:
        return this.#onPing(flags, streamId, bytes, start, end);
      case frames.GOAWAY:
        return this.#onGoaway(streamId, bytes, start, end);
      case frames.PRIORITY:
        return this.#onPriority(streamId, bytes, start, end);
      case frames.PUSH_PROMISE:
        return this.#fail(frames.PROTOCOL_ERROR, "a push that nobody allowed");
      default:
        // RFC 9113 section 5.5: unknown frames are ignored, but not without end
        return !this.#flood("emptyFrames");
    }
  }

  // ── DATA ──

  #beginData(flags: number, streamId: number, length: number): boolean {
    if (streamId === 0) return this.#fail(frames.PROTOCOL_ERROR, "DATA on stream 0");
    const stream = this.#streams.get(streamId);
    if (stream === undefined && !this.#isClosedByUs(streamId)) {
      return this.#isIdle(streamId)
        ? this.#fail(frames.PROTOCOL_ERROR, "DATA on a stream that was never opened")
        : this.#fail(frames.STREAM_CLOSED, "DATA on a stream that has ended");
    }
    if (!this.#windows.takes(length)) {
      return this.#fail(frames.FLOW_CONTROL_ERROR, "DATA beyond the connection's window");
    }
    if (length === 0 && (flags & frames.END_STREAM) === 0 && this.#flood("emptyFrames")) return false;
    this.#dataStream = undefined;
    this.#dataFlags = flags;
    this.#dataLength = length;
    this.#payloadLeft = length;
    this.#padding = (flags & frames.PADDED) === 0 ? 0 : -1;
    if (this.#padding === -1 && length === 0) return this.#fail(frames.FRAME_SIZE_ERROR, "padding without a length");
    this.#guard.traffic();
    if (stream === undefined) return true;
    if (stream.remoteEnded) {
      this.#breakStream(stream, frames.STREAM_CLOSED, "DATA behind the end of the stream");
      return this.#violation === undefined;
    }
    if (this.#role === "client" && !stream.finalHeadSeen) {
      this.#breakStream(stream, frames.PROTOCOL_ERROR, "DATA before the response's head");
      return this.#violation === undefined;
    }
    if (length > stream.receiveWindow) {
      this.#breakStream(stream, frames.FLOW_CONTROL_ERROR, "DATA beyond the stream's window");
      return this.#violation === undefined;
    }
    stream.receiveWindow -= length;
    this.#dataStream = stream;
    return true;
  }

  onDataPiece(bytes: Uint8Array, start: number, end: number): boolean {
    let from = start;
    if (this.#padding === -1) {
      this.#padding = bytes[from] as number;
      from++;
      this.#payloadLeft--;
      if (this.#padding > this.#payloadLeft) return this.#fail(frames.PROTOCOL_ERROR, "more padding than payload");
      const isEmpty = this.#padding === this.#payloadLeft && (this.#dataFlags & frames.END_STREAM) === 0;
      if (isEmpty && this.#flood("emptyFrames")) return false;
    }
    const left = this.#payloadLeft;
    this.#payloadLeft -= end - from;
    const stream = this.#dataStream;
    if (stream === undefined || stream.reset) return true;
    const useful = Math.min(end - from, left - this.#padding);
    if (useful <= 0) return true;
    if (stream.expected !== -1) {
      stream.expected -= useful;
      if (stream.expected < 0) {
        this.#breakStream(stream, frames.PROTOCOL_ERROR, "more DATA than content-length announces");
        return this.#violation === undefined;
      }
    }
    const chunk = bytes.subarray(from, from + useful);
    if (stream.paused || stream.held !== undefined) {
      stream.held ??= new HeldBytes();
      stream.held.push(chunk);
      stream.heldNow += chunk.length;
    } else this.#handler.onData(stream, chunk);
    return this.#violation === undefined;
  }

  onDataEnd(): boolean {
    const stream = this.#dataStream;
    const length = this.#dataLength;
    this.#dataStream = undefined;
    // held or dropped, it is given back: a stream whose reader rests is stopped by its own window, and must not stop the others
    this.#windows.giveBack(length);
    if (stream === undefined || stream.reset) return true;
    const held = stream.heldNow;
    stream.heldNow = 0;
    if ((this.#dataFlags & frames.END_STREAM) !== 0) this.#endRemote(stream, undefined);
    else this.#windows.giveBackTo(stream, length - held);
    return this.#violation === undefined;
  }

  #endRemote(stream: Http2Stream<User>, trailers: Fields | undefined): void {
    if (stream.reset || stream.remoteEnded) return;
    if (stream.expected > 0) {
      this.#breakStream(stream, frames.PROTOCOL_ERROR, "less DATA than content-length announces");
      return;
    }
    stream.remoteEnded = true;
    if (this.#holdsEnd(stream)) {
      stream.endHeld = true;
      stream.heldTrailers = trailers;
      return;
    }
    // the handler may end our half from inside: the stream is closed by whoever comes second
    this.#handler.onEnd(stream, trailers);
    this.#closeIfEnded(stream);
  }

  #holdsEnd({ held, paused, endPasses }: Http2Stream<User>): boolean {
    return held !== undefined || (paused && !endPasses);
  }

  /** The stream's owner takes nothing for now: what the window allows is held, and the end with it. */
  pause(stream: Http2Stream<User>): void {
    stream.paused = true;
    stream.endPasses = false;
  }

  /** As `pause`, but for an end with nothing held before it. */
  pauseData(stream: Http2Stream<User>): void {
    stream.paused = true;
    stream.endPasses = true;
  }

  /** The owner takes data again: what was held comes now. */
  resume(stream: Http2Stream<User>): void {
    if (!stream.paused) return;
    stream.paused = false;
    while (stream.held !== undefined && !this.#isPaused(stream)) {
      const chunk = stream.held.shift() as Uint8Array;
      if (stream.held.isEmpty) stream.held = undefined;
      this.#handler.onData(stream, chunk);
      this.#windows.giveBackTo(stream, chunk.length);
    }
    if (stream.endHeld && !stream.reset && !this.#holdsEnd(stream)) {
      stream.endHeld = false;
      this.#handler.onEnd(stream, stream.heldTrailers);
      this.#closeIfEnded(stream);
    }
  }

  /** The other side is gone, or has reset the stream. True for a stream of which all is here that it had to say: it still comes, and only our
   *  own half ends (RFC 9113 section 8.1: a complete response is not discarded). */
  outlives(stream: Http2Stream<User>): boolean {
    if (stream.reset || !stream.endHeld || this.#role === "server") return false;
    stream.localEnded = true;
    this.#queue.drop(stream);
    if (stream.awaitsDrain) {
      stream.awaitsDrain = false;
      this.#handler.onStreamWritable(stream);
    }
    return true;
  }

  /** Read anew: handlers change it meanwhile. */
  #isPaused(stream: Http2Stream<User>): boolean {
    return stream.paused;
  }

  // ── HEADERS ──

  #onHeaders(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (streamId === 0) return this.#fail(frames.PROTOCOL_ERROR, "HEADERS on stream 0");
    let from = start;
    let until = end;
    if ((flags & frames.PADDED) !== 0) {
      const padding = from < end ? (bytes[from] as number) : 256;
      from++;
      until -= padding;
    }
    if ((flags & frames.WITH_PRIORITY) !== 0) from += 5;
    if (from > until) return this.#fail(frames.PROTOCOL_ERROR, "HEADERS shorter than its flags say");
    if ((flags & frames.WITH_PRIORITY) !== 0 && readDependency(bytes, from - 5) === streamId) {
      return this.#fail(frames.PROTOCOL_ERROR, "a stream depends on itself");
    }
    this.#guard.traffic();
    if ((flags & frames.END_HEADERS) !== 0) return this.#onBlock(flags, streamId, bytes, from, until);
    if (until - from > this.#limits.headBytes) return this.#blockTooLarge();
    this.#blockStream = streamId;
    this.#blockFrame = this.#reader.frames;
    this.#blockFlags = flags;
    this.#block = Buffer.from(bytes.subarray(from, until));
    this.#continuations = 0;
    return true;
  }

  #onContinuation(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#blockStream === 0) return this.#fail(frames.PROTOCOL_ERROR, "CONTINUATION without a header block");
    this.#continuations++;
    if (this.#continuations > MAX_CONTINUATIONS) {
      return this.#fail(frames.ENHANCE_YOUR_CALM, "too many: CONTINUATION frames", "E_HTTP2_FLOOD");
    }
    if (start === end && this.#flood("emptyFrames")) return false;
    if (this.#block.length + (end - start) > this.#limits.headBytes) return this.#blockTooLarge();
    const block = Buffer.concat([this.#block, bytes.subarray(start, end)]);
    this.#block = block;
    if ((flags & frames.END_HEADERS) === 0) return true;
    this.#blockStream = 0;
    this.#block = NO_BYTES;
    return this.#onBlock(this.#blockFlags, streamId, block, 0, block.length);
  }

  /** Compressed it is larger already than it may be decompressed: reading on would only serve the sender. */
  #blockTooLarge(): boolean {
    return this.#fail(frames.ENHANCE_YOUR_CALM, "a header block is larger than the limit", "E_HTTP2_FLOOD");
  }

  #onBlock(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    // decoded whatever becomes of it: the table is the connection's
    const broken = this.#decoder.decode(bytes, start, end);
    if (broken !== undefined) return this.#fail(frames.COMPRESSION_ERROR, broken, "E_HTTP2_COMPRESSION");
    const ended = (flags & frames.END_STREAM) !== 0;
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) return this.#onMore(stream, ended);
    if (this.#role === "client") {
      if (this.#isClosedByUs(streamId)) return true;
      return this.#isIdle(streamId)
        ? this.#fail(frames.PROTOCOL_ERROR, "HEADERS on a stream that was never opened")
        : this.#fail(frames.STREAM_CLOSED, "HEADERS on a stream that has ended");
    }
    if (streamId % 2 === 0) return this.#fail(frames.PROTOCOL_ERROR, "a client opened an even stream");
    if (streamId <= this.#lastPeerStream || streamId <= this.#lastDiscarded) {
      if (this.#isClosedByUs(streamId)) return true;
      return this.#fail(frames.STREAM_CLOSED, "HEADERS on a stream that has ended");
    }
    return this.#openByPeer(streamId, ended);
  }

  #openByPeer(streamId: number, ended: boolean): boolean {
    // behind our final GOAWAY nothing is processed: the other side may send it elsewhere
    if (this.#shuttingDown === "final") {
      this.#lastDiscarded = streamId;
      return true;
    }
    this.#lastPeerStream = streamId;
    if (this.#streams.size >= this.#limits.streams) {
      this.#writeReset(streamId, frames.REFUSED_STREAM);
      // RFC 9113 section 6.5.3: a setting is in force once it is acknowledged; clients that open many streams at once do so before
      if (!this.#settingsAcknowledged && this.#earlyRefusals < MAX_EARLY_REFUSALS) {
        this.#earlyRefusals++;
        this.#lastEarlyRefusal = streamId;
      } else if (this.#flood("provokedResets")) return false;
      this.#handler.onRefused(streamId);
      return this.#violation === undefined;
    }
    const stream = new Http2Stream<User>(streamId, this.#queue.initialWindow, this.#limits.streamWindow);
    this.#streams.add(stream);
    const head = this.#decoder.tooLarge
      ? HEAD_TOO_LARGE
      : readRequest(this.#decoder.fields, this.#decoder.count, ended, this.#limits);
    if ("code" in head) {
      stream.remoteEnded = ended;
      if (this.#flood("provokedResets")) return false;
      this.#handler.onBadRequest(stream, head);
      this.#closeIfEnded(stream);
      return this.#violation === undefined;
    }
    stream.method = head.method;
    if (head.framing.kind === "length") stream.expected = head.framing.length;
    this.#handler.onRequest(stream, head);
    if (ended) this.#endRemote(stream, undefined);
    return this.#violation === undefined;
  }

  /** HEADERS on an open stream: trailers, or (client) a response's head. */
  #onMore(stream: Http2Stream<User>, ended: boolean): boolean {
    if (stream.remoteEnded) {
      this.#breakStream(stream, frames.STREAM_CLOSED, "HEADERS behind the end of the stream");
      return this.#violation === undefined;
    }
    if (this.#decoder.tooLarge) {
      this.#breakStream(stream, frames.ENHANCE_YOUR_CALM, "a header section larger than the limit");
      return this.#violation === undefined;
    }
    const { fields, count } = this.#decoder;
    if (this.#role === "server" || stream.finalHeadSeen) {
      if (!ended) {
        this.#breakStream(stream, frames.PROTOCOL_ERROR, "trailers that do not end the stream");
        return this.#violation === undefined;
      }
      const trailers = readTrailers(fields, count);
      if (trailers !== undefined && "code" in trailers) {
        this.#breakStream(stream, frames.PROTOCOL_ERROR, trailers.detail);
        return this.#violation === undefined;
      }
      this.#endRemote(stream, trailers);
      return this.#violation === undefined;
    }
    const head = readResponse(fields, count, ended, stream.method);
    if ("code" in head || (head.status < 200 && ended)) {
      const detail = "code" in head ? head.detail : "an interim response ended the stream";
      this.#breakStream(stream, frames.PROTOCOL_ERROR, detail);
      return this.#violation === undefined;
    }
    if (head.status < 200) {
      if (++stream.interims > MAX_INTERIM_RESPONSES) {
        this.#breakStream(stream, frames.ENHANCE_YOUR_CALM, "too many interim responses");
        return this.#violation === undefined;
      }
    } else {
      stream.finalHeadSeen = true;
      if (head.framing.kind === "length") stream.expected = head.framing.length;
      // whatever it announces, no body follows; behind a CONNECT's success comes the tunnel
      else if (head.framing.kind === "none" && (stream.method !== "CONNECT" || head.status >= 300)) stream.expected = 0;
    }
    this.#handler.onResponse(stream, head);
    if (ended) this.#endRemote(stream, undefined);
    return this.#violation === undefined;
  }

  // ── other frames ──

  #onWindowUpdate(streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start !== 4) return this.#fail(frames.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of a wrong length");
    const increment = frames.readUint31(bytes, start);
    if (this.#flood("windowUpdates")) return false;
    if (streamId === 0) {
      if (increment === 0) return this.#fail(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE of zero");
      if (!this.#queue.widen(increment)) {
        return this.#fail(frames.FLOW_CONTROL_ERROR, "a window larger than windows can be");
      }
      return true;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      return (
        !this.#isIdle(streamId) ||
        this.#fail(frames.PROTOCOL_ERROR, "a WINDOW_UPDATE on a stream that was never opened")
      );
    }
    if (increment === 0) this.#breakStream(stream, frames.PROTOCOL_ERROR, "a WINDOW_UPDATE of zero");
    else if (!this.#queue.widenStream(stream, increment)) {
      this.#breakStream(stream, frames.FLOW_CONTROL_ERROR, "a window larger than windows can be");
    }
    return this.#violation === undefined;
  }

  #onRstStream(streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start !== 4) return this.#fail(frames.FRAME_SIZE_ERROR, "a RST_STREAM of a wrong length");
    if (streamId === 0 || this.#isIdle(streamId)) {
      return this.#fail(frames.PROTOCOL_ERROR, "a RST_STREAM on a stream that was never opened");
    }
    if (this.#role === "server" && this.#flood("resets")) return false;
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return true;
    if (this.outlives(stream)) return true;
    const code = frames.readUint32(bytes, start);
    this.#lose(stream, code, `the other side reset the stream: ${frames.errorName(code)}`);
    return this.#violation === undefined;
  }

  #onSettings(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (streamId !== 0) return this.#fail(frames.PROTOCOL_ERROR, "SETTINGS on a stream");
    if ((flags & frames.ACK) !== 0) {
      if (start !== end) return this.#fail(frames.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS that holds some");
      this.#settingsAcknowledged = true;
      return true;
    }
    if ((end - start) % 6 !== 0) return this.#fail(frames.FRAME_SIZE_ERROR, "SETTINGS of a wrong length");
    if (this.#flood("settings")) return false;
    this.#gotSettings = true;
    const window = this.#queue.initialWindow;
    for (let at = start; at < end; at += 6) {
      const id = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
      if (!this.#setting(id, frames.readUint32(bytes, at + 2))) return false;
    }
    frames.writeFrameHeader(this.#out, 0, frames.SETTINGS, frames.ACK, 0);
    // after the acknowledgement: what a larger window lets out comes under settings that are known to be in force
    if (this.#queue.initialWindow > window) this.#queue.flush();
    this.#handler.onSettings();
    return this.#violation === undefined;
  }

  #setting(id: number, value: number): boolean {
    switch (id) {
      case frames.SETTINGS_HEADER_TABLE_SIZE:
        this.#writer.setMaxTableBytes(value);
        return true;
      case frames.SETTINGS_ENABLE_PUSH:
        return (
          value === 0 ||
          (value === 1 && this.#role === "server") ||
          this.#fail(frames.PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH with a forbidden value")
        );
      case frames.SETTINGS_MAX_CONCURRENT_STREAMS:
        this.#peerStreams = value;
        return true;
      case frames.SETTINGS_INITIAL_WINDOW_SIZE:
        return this.#setInitialWindow(value);
      case frames.SETTINGS_MAX_FRAME_SIZE:
        if (value < frames.MAX_FRAME_BYTES || value > 0xff_ffff) {
          return this.#fail(frames.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE with a forbidden value");
        }
        this.#writer.maxFrame = Math.min(value, OUR_MAX_FRAME);
        return true;
      case frames.SETTINGS_ENABLE_CONNECT_PROTOCOL:
        if (value > 1 || (value === 0 && this.#peerExtendedConnect)) {
          return this.#fail(frames.PROTOCOL_ERROR, "SETTINGS_ENABLE_CONNECT_PROTOCOL with a forbidden value");
        }
        this.#peerExtendedConnect = value === 1;
        return true;
      default:
        return true;
    }
  }

  #setInitialWindow(value: number): boolean {
    if (value > frames.MAX_WINDOW) {
      return this.#fail(frames.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE larger than windows can be");
    }
    return (
      this.#queue.setInitialWindow(value) ||
      this.#fail(frames.FLOW_CONTROL_ERROR, "a window larger than windows can be")
    );
  }

  #onPing(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (streamId !== 0) return this.#fail(frames.PROTOCOL_ERROR, "PING on a stream");
    if (end - start !== 8) return this.#fail(frames.FRAME_SIZE_ERROR, "a PING of a wrong length");
    if ((flags & frames.ACK) !== 0) {
      if (frames.readUint32(bytes, start) === DRAIN_PING && this.#shuttingDown === "asked") this.#finalGoaway();
      return true;
    }
    if (this.#flood("pings")) return false;
    frames.writeFrameHeader(this.#out, 8, frames.PING, frames.ACK, 0);
    this.#out.bytes(bytes.subarray(start, end));
    return true;
  }

  #onGoaway(streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (streamId !== 0) return this.#fail(frames.PROTOCOL_ERROR, "GOAWAY on a stream");
    if (end - start < 8) return this.#fail(frames.FRAME_SIZE_ERROR, "a GOAWAY of a wrong length");
    const last = frames.readUint31(bytes, start);
    const code = frames.readUint32(bytes, start + 4);
    if (last > this.#peerGoaway) return this.#fail(frames.PROTOCOL_ERROR, "a GOAWAY that takes an earlier one back");
    this.#peerGoaway = last;
    if (this.#role === "client") {
      for (const stream of this.#streams.list()) {
        if (stream.id <= last) continue;
        this.#lose(stream, frames.REFUSED_STREAM, `not processed before GOAWAY ${frames.errorName(code)}`);
      }
    }
    this.#handler.onGoaway(last, code);
    return this.#violation === undefined;
  }

  #onPriority(streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (streamId === 0) return this.#fail(frames.PROTOCOL_ERROR, "PRIORITY on stream 0");
    if (this.#flood("priorities")) return false;
    const stream = this.#streams.get(streamId);
    if (end - start !== 5) {
      if (stream !== undefined) this.#breakStream(stream, frames.FRAME_SIZE_ERROR, "a PRIORITY of a wrong length");
      else return this.#fail(frames.FRAME_SIZE_ERROR, "a PRIORITY of a wrong length");
    } else if (readDependency(bytes, start) === streamId) {
      return this.#fail(frames.PROTOCOL_ERROR, "a stream depends on itself");
    }
    return this.#violation === undefined;
  }

  // ── output ──

  /** Client: opens a stream for a request with this method. Only where `canOpen`. */
  open(method: string): Http2Stream<User> {
    if (!this.canOpen) throw new TypeError("no stream can be opened now");
    const stream = new Http2Stream<User>(this.#nextStream, this.#queue.initialWindow, this.#limits.streamWindow);
    stream.method = method;
    this.#nextStream += 2;
    this.#streams.add(stream);
    return stream;
  }

  /** Client: much is to be expected on the stream. */
  expectMuch(stream: Http2Stream<User>): void {
    this.#windows.fill(stream);
  }

  /** Begins a header section; its fields follow. Nothing of it leaves before `endHeaders`. */
  beginHeaders(stream: Http2Stream<User>): void {
    this.#writer.beginHeaders(stream.id);
  }

  /** Throws TypeError for what no field may hold: `dropHeaders` is to be called then. So do `status` and `lines`. */
  field(name: string, value: string): void {
    this.#writer.field(name, value);
  }

  status(code: number): void {
    this.#writer.status(code);
  }

  /** The lines that a message passes on, then those that were added. */
  lines(lines: HeadLines): void {
    this.#writer.lines(lines);
  }

  /** Takes a header section back of which a field can't be written: `field`, `status` or `lines` threw. Nothing of it leaves, and the stream
   *  is over; its owner hears of it by onStreamClosed alone. The table stays right, since its next block resets it. */
  dropHeaders(stream: Http2Stream<User>): void {
    this.#writer.dropHeaders();
    // a stream of ours that nobody has heard of is no stream to reset
    if (this.#role === "client" && !stream.headersSent) {
      if (!stream.reset) this.#close(stream);
    } else this.resetStream(stream, frames.INTERNAL_ERROR);
  }

  /** Ends a header section. */
  endHeaders(stream: Http2Stream<User>, endStream: boolean): void {
    stream.headersSent = true;
    this.#guard.traffic();
    this.#writer.endHeaders(stream.id);
    if (endStream) this.end(stream, undefined);
  }

  /** Sends body bytes as far as windows let them go; the rest is copied and waits. */
  data(stream: Http2Stream<User>, chunk: Uint8Array): void {
    if (stream.reset || stream.localEnded || stream.endQueued) return;
    this.#queue.send(stream, chunk);
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
    this.#closeIfEnded(stream);
  }

  /** Server: ends our half, and once that has left the stream with it: what the other side still sends is not wanted
   *  (RFC 9113 section 8.1). */
  endAndCancel(stream: Http2Stream<User>): void {
    if (stream.reset) return;
    this.end(stream, undefined);
    if (stream.reset || stream.remoteEnded) return;
    stream.cancelAfterEnd = true;
    if (stream.localEnded) this.resetStream(stream, frames.NO_ERROR);
  }

  /** What waited has left, and the end was to follow it. */
  #endQueued(stream: Http2Stream<User>): void {
    this.#writeEnd(stream, stream.trailers);
    if (stream.cancelAfterEnd && !stream.remoteEnded) this.resetStream(stream, frames.NO_ERROR);
    this.#closeIfEnded(stream);
  }

  #writeEnd(stream: Http2Stream<User>, trailers: Fields | undefined): void {
    stream.localEnded = true;
    if (trailers === undefined || trailers.lower.length === 0) {
      this.#writer.end(stream.id);
      return;
    }
    this.#writer.beginHeaders(stream.id);
    const { lower, raw } = trailers;
    try {
      for (let at = 0; at < lower.length; at++) this.field(lower[at] as string, raw[2 * at + 1] as string);
    } catch {
      // half of a message must not look like a whole one
      this.#writer.dropHeaders();
      this.#writeReset(stream.id, frames.INTERNAL_ERROR);
      this.#lose(stream, frames.INTERNAL_ERROR, "a trailer holds what no field may hold");
      return;
    }
    this.#writer.endTrailers(stream.id);
  }

  /** Whether a source should stop: output waits for the other side's window. Whoever sees true gets onStreamWritable later. */
  isCongested(stream: Http2Stream<User>): boolean {
    return this.#queue.isCongested(stream);
  }

  /** Ends a stream at once. What waits on it is dropped; nothing is delivered any more. */
  resetStream(stream: Http2Stream<User>, errorCode: number): void {
    if (stream.reset) return;
    this.#writeReset(stream.id, errorCode);
    this.#close(stream);
  }

  #writeReset(streamId: number, errorCode: number): void {
    this.#writer.reset(streamId, errorCode);
    this.#recentlyReset.push(streamId);
    const remembered = Math.max(REMEMBERED_RESETS, this.#limits.streams);
    if (this.#recentlyReset.length > remembered) this.#recentlyReset.shift();
  }

  /** The other side broke the stream's rules. */
  #breakStream(stream: Http2Stream<User>, errorCode: number, detail: string): void {
    if (this.#flood("provokedResets")) return;
    this.#writeReset(stream.id, errorCode);
    this.#lose(stream, errorCode, detail);
  }

  /** A stream is over before its end. Its owner hears why before it hears that it is closed. */
  #lose(stream: Http2Stream<User>, errorCode: number, detail: string): void {
    if (stream.reset) return;
    stream.reset = true;
    this.#handler.onReset(stream, errorCode, detail);
    this.#close(stream);
  }

  #closeIfEnded(stream: Http2Stream<User>): void {
    if (!stream.remoteEnded || !stream.localEnded || stream.endHeld || stream.reset) return;
    this.#guard.completed();
    this.#close(stream);
  }

  #close(stream: Http2Stream<User>): void {
    stream.reset = true;
    this.#queue.drop(stream);
    stream.held = undefined;
    this.#windows.onClosed(stream);
    this.#streams.delete(stream);
    this.#handler.onStreamClosed(stream);
    if (this.#streams.size === 0) this.#handler.onIdle();
  }

  /** Asks the other side to open no more streams. What it has opened meanwhile is served: it is first told that the end is near, and
   *  only once it must have heard that, which streams count (RFC 9113 section 6.8). */
  shutdown(): void {
    if (this.#shuttingDown !== "no" || this.#violation !== undefined) return;
    if (this.#role === "client") {
      this.#shuttingDown = "final";
      frames.writeGoaway(this.#out, 0, frames.NO_ERROR, "");
      return;
    }
    this.#shuttingDown = "asked";
    frames.writeGoaway(this.#out, frames.MAX_WINDOW, frames.NO_ERROR, "");
    frames.writeFrameHeader(this.#out, 8, frames.PING, 0, 0);
    this.#out.uint32(DRAIN_PING);
    this.#out.uint32(0);
  }

  /** Server: takes no more streams from now on, whether or not the other side has said that it heard of the shutdown. */
  finishShutdown(): void {
    if (this.#shuttingDown === "asked" && this.#violation === undefined) this.#finalGoaway();
  }

  /** Server: whether the other side has heard that the end is near, and no stream is open. */
  get isFinished(): boolean {
    return this.#shuttingDown === "final" && this.#streams.size === 0;
  }

  #finalGoaway(): void {
    this.#shuttingDown = "final";
    frames.writeGoaway(this.#out, this.#lastPeerStream, frames.NO_ERROR, "");
    if (this.#streams.size === 0) this.#handler.onIdle();
  }

  /** Ends the connection for a reason of ours: a GOAWAY, and nothing of what is still pushed is read. */
  abandon(errorCode: number, code: ErrorCode, detail: string): void {
    this.#fail(errorCode, detail, code);
  }

  #isIdle(streamId: number): boolean {
    const ours = streamId % 2 === (this.#role === "client" ? 1 : 0);
    if (ours) return this.#role === "server" || streamId >= this.#nextStream;
    return streamId > this.#lastPeerStream && streamId > this.#lastDiscarded;
  }

  #isClosedByUs(streamId: number): boolean {
    return (
      // what a client sends on streams that it opened too early follows them, however many they are
      (streamId <= this.#lastEarlyRefusal && streamId % 2 === 1) ||
      this.#recentlyReset.includes(streamId) ||
      (streamId > this.#lastPeerStream && streamId <= this.#lastDiscarded)
    );
  }
}

const HEAD_TOO_LARGE: Http2Fault = {
  code: "E_HTTP_HEAD_TOO_LARGE",
  detail: "the header section is larger than the limit",
};

function readDependency(bytes: Uint8Array, at: number): number {
  return frames.readUint31(bytes, at);
}
