import { MAX_WINDOW } from "./frames.ts";

/** Which end of a connection we are. */
export type Http2Role = "server" | "client";

/** How many streams that we have reset are remembered at least: what the other side had sent on them before it heard is no fault. */
const REMEMBERED_RESETS = 256;
/** How many streams above the limit are refused without being held against a client that may not have read the limit yet. */
const MAX_EARLY_REFUSALS = 1000;

/** Which numbers the streams of a connection have had (RFC 9113 section 5.1.1), and which of them what still comes on them is no fault of the
 *  other side's. */
export class StreamNumbers {
  readonly #role: Http2Role;
  readonly #remembered: number;
  #next = 1;
  #lastPeer = 0;
  #earlyRefusals = 0;
  /** The last stream that was refused before our settings were in force. */
  #lastEarlyRefusal = 0;
  /** The last stream that the other side opened behind our final GOAWAY: such are read and dropped (RFC 9113 section 6.8). */
  #lastDiscarded = 0;
  readonly #recentlyReset: number[] = [];

  /** `streams`: how many may be open at once. */
  constructor(role: Http2Role, streams: number) {
    this.#role = role;
    this.#remembered = Math.max(REMEMBERED_RESETS, streams);
  }

  /** The last stream that the other side opened and that we have looked at. */
  get lastPeer(): number {
    return this.#lastPeer;
  }

  /** Client: no number is left. */
  get areSpent(): boolean {
    return this.#next >= MAX_WINDOW - 2;
  }

  /** Client: the number of a stream that is opened now. */
  open(): number {
    const id = this.#next;
    this.#next += 2;
    return id;
  }

  /** Server: whether the other side may open this stream, for all that numbers say. */
  isNew(streamId: number): boolean {
    return streamId > this.#lastPeer && streamId > this.#lastDiscarded;
  }

  notePeer(streamId: number): void {
    this.#lastPeer = streamId;
  }

  noteDiscarded(streamId: number): void {
    this.#lastDiscarded = streamId;
  }

  noteReset(streamId: number): void {
    this.#recentlyReset.push(streamId);
    if (this.#recentlyReset.length > this.#remembered) this.#recentlyReset.shift();
  }

  /** A stream above the limit was refused that a client opened before it knew the limit. False if there were too many of them. */
  forgivesEarly(streamId: number): boolean {
    if (this.#earlyRefusals >= MAX_EARLY_REFUSALS) return false;
    this.#earlyRefusals++;
    this.#lastEarlyRefusal = streamId;
    return true;
  }

  /** No stream had that number yet. */
  isIdle(streamId: number): boolean {
    const ours = streamId % 2 === (this.#role === "client" ? 1 : 0);
    if (ours) return this.#role === "server" || streamId >= this.#next;
    return this.isNew(streamId);
  }

  /** The other side may not have heard yet that the stream is over. */
  isClosedByUs(streamId: number): boolean {
    return (
      // what a client sends on streams that it opened too early follows them, however many they are
      (streamId <= this.#lastEarlyRefusal && streamId % 2 === 1) ||
      this.#recentlyReset.includes(streamId) ||
      (streamId > this.#lastPeer && streamId <= this.#lastDiscarded)
    );
  }
}
