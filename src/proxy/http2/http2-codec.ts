import type { ErrorCode } from "../../core/error-codes.ts";
import type { HeadLines } from "../http1/head-lines.ts";
import type { Fields } from "../http1/http1-events.ts";
import type { OutputBuffer } from "../http1/output-buffer.ts";
import { BodyDelivery } from "./body-delivery.ts";
import type { CodecParts } from "./codec-parts.ts";
import { ControlFrames } from "./control-frames.ts";
import { DataFrame } from "./data-frame.ts";
import { FloodGuard } from "./flood-guard.ts";
import { FrameReader, type FrameSink } from "./frame-reader.ts";
import * as frames from "./frames.ts";
import { writeGreeting } from "./greeting.ts";
import { HeaderBlock } from "./header-block.ts";
import type { Http2Handler } from "./http2-handler.ts";
import { type Http2Limits, OUR_MAX_FRAME } from "./http2-limits.ts";
import { Http2Stream } from "./http2-stream.ts";
import { MessageWriter } from "./message-writer.ts";
import { type Http2Violation, PeerConduct } from "./peer-conduct.ts";
import { PeerSettings } from "./peer-settings.ts";
import { ReceiveWindows } from "./receive-windows.ts";
import { ReceivedHeads } from "./received-heads.ts";
import { SendQueue } from "./send-queue.ts";
import { SentHalves } from "./sent-halves.ts";
import { Shutdown } from "./shutdown.ts";
import { StreamEndings } from "./stream-endings.ts";
import { type Http2Role, StreamNumbers } from "./stream-numbers.ts";
import { StreamTable } from "./stream-table.ts";

/** One HTTP/2 connection's protocol (RFC 9113, RFC 8441), client or server: bytes in, events out, frames appended to the output buffer. No I/O and no
 *  clock: `push` is told the time. */
export class Http2Codec<User> implements FrameSink {
  readonly #role: Http2Role;
  readonly #limits: Http2Limits;
  readonly #reader = new FrameReader(this);
  readonly #writer: MessageWriter;
  readonly #windows: ReceiveWindows;
  readonly #guard: FloodGuard;
  readonly #numbers: StreamNumbers;
  readonly #conduct: PeerConduct;
  readonly #streams = new StreamTable<User>();
  readonly #queue: SendQueue<User>;
  readonly #endings: StreamEndings<User>;
  readonly #sent: SentHalves<User>;
  readonly #delivery: BodyDelivery<User>;
  readonly #peer: PeerSettings;
  readonly #shutdown: Shutdown<User>;
  readonly #control: ControlFrames<User>;
  readonly #block: HeaderBlock;
  readonly #data: DataFrame<User>;
  #prefaceAt: number;

  constructor(role: Http2Role, out: OutputBuffer, handler: Http2Handler<User>, limits: Http2Limits) {
    const { streams, streamWindow, fullWindow, connectionWindow, http2, headBytes } = limits;
    this.#role = role;
    this.#limits = limits;
    this.#guard = new FloodGuard(http2);
    this.#numbers = new StreamNumbers(role, streams);
    this.#conduct = new PeerConduct(out, this.#guard, this.#numbers);
    this.#prefaceAt = role === "server" ? 0 : frames.CLIENT_PREFACE.length;
    this.#writer = new MessageWriter(out);
    this.#windows = new ReceiveWindows(out, connectionWindow, streamWindow, fullWindow ?? streamWindow);
    this.#queue = new SendQueue(this.#writer, this.#guard, this.#streams, {
      onStreamWritable: (stream) => handler.onStreamWritable(stream),
      onQueueSent: (stream) => this.#sent.endQueued(stream),
    });
    const parts: CodecParts<User> = {
      role,
      out,
      handler,
      limits,
      guard: this.#guard,
      numbers: this.#numbers,
      conduct: this.#conduct,
      streams: this.#streams,
      writer: this.#writer,
      windows: this.#windows,
      queue: this.#queue,
    };
    this.#endings = new StreamEndings(parts);
    this.#sent = new SentHalves(parts, this.#endings);
    this.#delivery = new BodyDelivery(parts, this.#endings);
    this.#peer = new PeerSettings(parts);
    this.#shutdown = new Shutdown(parts, this.#endings);
    this.#control = new ControlFrames(parts, this.#endings, this.#shutdown);
    this.#data = new DataFrame(parts, this.#endings, this.#delivery);
    const heads = new ReceivedHeads(parts, this.#endings, this.#delivery, this.#peer, this.#shutdown);
    this.#block = new HeaderBlock(this.#conduct, this.#guard, headBytes, http2.continuations, heads);
    writeGreeting(role, out, limits);
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
    return this.#block.stream === 0 ? this.#reader.unfinished : this.#block.frame;
  }

  /** Whether the other side's settings have come: before that nobody knows that it speaks HTTP/2. */
  get isSettled(): boolean {
    return this.#peer.haveCome;
  }

  /** Client: whether one more stream can be opened now. */
  get canOpen(): boolean {
    return !this.isSpent && this.#streams.size < Math.min(this.#peer.streams, this.#limits.streams);
  }

  /** Client: no stream will ever be opened on it again. */
  get isSpent(): boolean {
    return !this.#conduct.goesOn || this.#shutdown.hasBegun || this.#numbers.areSpent;
  }

  /** Whether the other side takes extended CONNECT (RFC 8441). */
  get takesExtendedConnect(): boolean {
    return this.#role === "client" && this.#peer.extendedConnect;
  }

  // ── input ──

  /** Takes bytes that came at `nowMs` (monotonic). Returns why the connection is over, if it is: a GOAWAY is written then. */
  push(bytes: Uint8Array, nowMs: number): Http2Violation | undefined {
    const conduct = this.#conduct;
    if (!conduct.goesOn) return conduct.violation;
    conduct.nowMs = nowMs;
    let from = 0;
    while (this.#prefaceAt < frames.CLIENT_PREFACE.length && from < bytes.length) {
      if (bytes[from] !== frames.CLIENT_PREFACE.charCodeAt(this.#prefaceAt)) {
        conduct.fail(frames.PROTOCOL_ERROR, "the connection does not begin with HTTP/2's preface");
        return conduct.violation;
      }
      from++;
      this.#prefaceAt++;
    }
    this.#reader.push(bytes, from);
    return conduct.violation;
  }

  onFrameStart(type: number, flags: number, streamId: number, length: number): boolean {
    const conduct = this.#conduct;
    if (!this.#peer.haveCome && (type !== frames.SETTINGS || (flags & frames.ACK) !== 0)) {
      return conduct.fail(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS", "E_HTTP2_PREFACE");
    }
    const block = this.#block.stream;
    if (block !== 0 && (type !== frames.CONTINUATION || streamId !== block)) {
      return conduct.fail(frames.PROTOCOL_ERROR, "a header block was interrupted by another frame");
    }
    if (length > OUR_MAX_FRAME) return conduct.fail(frames.FRAME_SIZE_ERROR, "a frame is larger than our limit");
    switch (type) {
      case frames.DATA:
        return this.#data.begin(flags, streamId, length);
      case frames.HEADERS:
      case frames.CONTINUATION:
      case frames.PUSH_PROMISE:
        return true;
      default:
        // what is kept until it is whole is never larger than it has to be
        return (
          length <= frames.MAX_FRAME_BYTES || conduct.fail(frames.FRAME_SIZE_ERROR, "a control frame is too large")
        );
    }
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    switch (type) {
      case frames.HEADERS:
        return this.#block.onHeaders(flags, streamId, bytes, start, end, this.#reader.frames);
      case frames.CONTINUATION:
        return this.#block.onContinuation(flags, streamId, bytes, start, end);
      case frames.WINDOW_UPDATE:
        return this.#control.onWindowUpdate(streamId, bytes, start, end);
      case frames.RST_STREAM:
        return this.#control.onRstStream(streamId, bytes, start, end);
      case frames.SETTINGS:
        return this.#peer.onFrame(flags, streamId, bytes, start, end);
      case frames.PING:
        return this.#control.onPing(flags, streamId, bytes, start, end);
      case frames.GOAWAY:
        return this.#shutdown.onFrame(streamId, bytes, start, end);
      case frames.PRIORITY:
        return this.#control.onPriority(streamId, bytes, start, end);
      case frames.PUSH_PROMISE:
        return this.#conduct.fail(frames.PROTOCOL_ERROR, "a push that nobody allowed");
      default:
        // RFC 9113 section 5.5: unknown frames are ignored, but not without end
        return !this.#conduct.floods("emptyFrames");
    }
  }

  onDataPiece(bytes: Uint8Array, start: number, end: number): boolean {
    return this.#data.piece(bytes, start, end);
  }

  onDataEnd(): boolean {
    return this.#data.end();
  }

  /** The stream's owner takes nothing for now: what the window allows is held, and the end with it. */
  pause(stream: Http2Stream<User>): void {
    this.#delivery.pause(stream, false);
  }

  /** As `pause`, but for an end with nothing held before it. */
  pauseData(stream: Http2Stream<User>): void {
    this.#delivery.pause(stream, true);
  }

  /** The owner takes data again: what was held comes now. */
  resume(stream: Http2Stream<User>): void {
    this.#delivery.resume(stream);
  }

  /** The other side is gone. True for a stream of which all is here that it had to say: it still comes, and only our own half ends
   *  (RFC 9113 section 8.1: a complete response is not discarded). */
  outlives(stream: Http2Stream<User>): boolean {
    return this.#endings.outlives(stream);
  }

  // ── output ──

  /** Client: opens a stream for a request with this method. Only where `canOpen`. */
  open(method: string): Http2Stream<User> {
    if (!this.canOpen) throw new TypeError("no stream can be opened now");
    const stream = new Http2Stream<User>(this.#numbers.open(), this.#queue.initialWindow, this.#limits.streamWindow);
    stream.method = method;
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
      if (!stream.reset) this.#endings.close(stream);
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
    this.#sent.data(stream, chunk);
  }

  /** Ends our half, behind what waits. */
  end(stream: Http2Stream<User>, trailers: Fields | undefined): void {
    this.#sent.end(stream, trailers);
  }

  /** Server: ends our half, and once that has left the stream with it: what the other side still sends is not wanted
   *  (RFC 9113 section 8.1). */
  endAndCancel(stream: Http2Stream<User>): void {
    this.#sent.endAndCancel(stream);
  }

  /** Whether a source should stop: output waits for the other side's window. Whoever sees true gets onStreamWritable later. */
  isCongested(stream: Http2Stream<User>): boolean {
    return this.#queue.isCongested(stream);
  }

  /** Ends a stream at once. What waits on it is dropped; nothing is delivered any more. */
  resetStream(stream: Http2Stream<User>, errorCode: number): void {
    this.#endings.reset(stream, errorCode);
  }

  /** Asks the other side to open no more streams. What it has opened meanwhile is served: it is first told that the end is near, and
   *  only once it must have heard that, which streams count (RFC 9113 section 6.8). */
  shutdown(): void {
    this.#shutdown.begin();
  }

  /** Server: takes no more streams from now on, whether or not the other side has said that it heard of the shutdown. */
  finishShutdown(): void {
    this.#shutdown.finish();
  }

  /** Server: whether the other side has heard that the end is near, and no stream is open. */
  get isFinished(): boolean {
    return this.#shutdown.isFinal && this.#streams.size === 0;
  }

  /** Ends the connection for a reason of ours: a GOAWAY, and nothing of what is still pushed is read. */
  abandon(errorCode: number, code: ErrorCode, detail: string): void {
    this.#conduct.fail(errorCode, detail, code);
  }
}
