import type { Fields } from "../http1/http1-events.ts";
import type { HeldBytes } from "./held-bytes.ts";
import type { WindowAllowance } from "./window-allowance.ts";

/** Stands for an empty list until there is something to put in one: most streams never wait. */
export const NO_CHUNKS: Uint8Array[] = [];

/** One stream of an HTTP/2 connection. Its fields belong to the codec; `user` is the owner's. */
export class Http2Stream<User> {
  readonly id: number;
  user: User | undefined = undefined;
  /** What the other side may still be sent. */
  sendWindow: number;
  /** What the other side may still send. */
  receiveWindow: number;
  /** The window that we keep open; grows with use. */
  window: number;
  /** What its window may take to grow: of the caller that its answer goes to. */
  allowance: WindowAllowance | undefined = undefined;
  /** Delivered, and not given back as window yet. */
  unacknowledged = 0;
  /** Delivered since the window last grew. */
  sinceGrowth = 0;
  /** The other side has ended its half. */
  remoteEnded = false;
  /** Our half is ended: the last frame is written. */
  localEnded = false;
  /** Reset by either side: nothing is delivered any more. */
  reset = false;
  /** Octets of DATA that are still to come by content-length; -1: not announced. */
  expected = -1;
  /** Response to it carries no body, whatever it announces. */
  method = "";
  headersSent = false;
  finalHeadSeen = false;
  /** Interim responses that have come. */
  interims = 0;
  /** Output that waits for window. */
  queue: Uint8Array[] = NO_CHUNKS;
  queuedBytes = 0;
  /** What follows the queue: the end, with these trailers. */
  endQueued = false;
  trailers: Fields | undefined = undefined;
  /** Once our half has ended, the other side's is not wanted. */
  cancelAfterEnd = false;
  /** Somebody saw it congested and waits. */
  awaitsDrain = false;
  /** The owner takes nothing now: what comes is held. */
  paused = false;
  /** The end carries no bytes: with nothing held before it, it passes although the owner takes nothing. */
  endPasses = false;
  /** What came meanwhile; undefined as long as nothing did. */
  held: HeldBytes | undefined = undefined;
  /** Held of the DATA frame that is being read, octets. */
  heldNow = 0;
  /** The end came while data was held. */
  endHeld = false;
  heldTrailers: Fields | undefined = undefined;

  constructor(id: number, sendWindow: number, window: number) {
    this.id = id;
    this.sendWindow = sendWindow;
    this.receiveWindow = window;
    this.window = window;
  }
}
