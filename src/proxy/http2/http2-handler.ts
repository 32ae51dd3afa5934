import type { Fields, RequestHead, ResponseHead } from "../http1/http1-events.ts";
import type { Http2Fault } from "./http2-fault.ts";
import type { Http2Stream } from "./http2-stream.ts";

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
