import type { TurnShare } from "./fair-turns.ts";
import type { ServerStream } from "./http2-server-stream.ts";

/** Calls of one read that may begin with it, since their body is there already. */
const MAX_EARLY = 16;

type StartedLater = Pick<ServerStream, "start">;

/** Calls of a connection that have not begun: those of one read begin behind it, so that one which it takes back costs the upstream nothing. */
export class WaitingCalls {
  readonly #share: TurnShare;
  #calls: StartedLater[] = [];
  /** Of this read. */
  #early = 0;

  constructor(share: TurnShare) {
    this.#share = share;
  }

  add(call: StartedLater): void {
    this.#calls.push(call);
  }

  /** Another read begins. */
  nextRead(): void {
    this.#early = 0;
  }

  /** Some of a stream's body has come: one that follows its head need not be kept. */
  bodyCame(user: object | undefined): void {
    const last = this.#calls.length - 1;
    const call = this.#calls[last];
    if (call === undefined || call !== user || this.#early >= MAX_EARLY || this.#share.waits) return;
    this.#early++;
    this.#calls.length = last;
    call.start();
  }

  /** Begins calls as far as the share goes, and at least one. Reading goes on while the others wait, `limits.streams` of them at most: what is
   *  taken back meanwhile, or the fault that ends the connection, spares the upstream those that have not begun. */
  begin(): void {
    const calls = this.#calls;
    let begun = 0;
    let isSpent = false;
    while (begun < calls.length && !isSpent) {
      (calls[begun++] as StartedLater).start();
      isSpent = this.#share.isSpent();
    }
    if (begun === calls.length) {
      calls.length = 0;
      return;
    }
    this.#calls = calls.slice(begun);
    this.#share.wait();
  }

  /** None of them begins. */
  clear(): void {
    this.#calls.length = 0;
  }
}
