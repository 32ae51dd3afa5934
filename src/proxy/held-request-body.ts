import { CountersignError } from "../core/errors.ts";
import type { AllowingAnswer, AuthorizationProvider, BodyInCheck, CheckedBody } from "./ext-authz/provider.ts";
import { type HeldBodies, heldBodies } from "./held-bodies.ts";
import type { UpstreamStream } from "./http-streams.ts";

const NOTHING = Buffer.alloc(0);
const FIRST_BYTES = 4096;
/** An upstream's output is written whenever so much of it waits: a body is handed on in pieces of that size. */
const PASSED_BYTES = 64 * 1024;

/** A request's body, from its first byte on, held until the providers that are to see it have answered. In one piece, so that a caller that sends
 *  bytes one by one costs no more than their number: memory is at most twice what has come. */
export class HeldRequestBody {
  readonly #all: HeldBodies;
  /** By the head; undefined: not said. */
  readonly #announced: number | undefined;
  #bytes: Buffer = NOTHING;
  #length = 0;
  /** Of that, what the upstream has. */
  #passed = 0;
  #hasEnded = false;
  #awaited: BodyInCheck | undefined;
  #settle: ((problem: CountersignError | undefined) => void) | undefined;
  /** Monotonic time by which what is awaited must have come; Infinity: nothing is awaited. */
  deadlineMs: number = Number.POSITIVE_INFINITY;
  /** What providers that have seen it said. */
  readonly answers: Map<AuthorizationProvider, AllowingAnswer> = new Map();
  /** Ends the call: what it holds is needed elsewhere. */
  readonly giveUp: () => void;

  constructor(announced: number | undefined, giveUp: () => void, all: HeldBodies = heldBodies) {
    this.#announced = announced;
    this.giveUp = giveUp;
    this.#all = all;
  }

  /** A provider waits for more of it: the caller is to send. */
  get isAwaited(): boolean {
    return this.#awaited !== undefined;
  }

  /** Memory in use, bytes. */
  get size(): number {
    return this.#bytes.length;
  }

  get #isWhole(): boolean {
    return this.#hasEnded || this.#length === this.#announced;
  }

  /** Resolves once all that a provider wants has come, or with why it can't be asked. Throws TypeError where another one waits already. */
  waitFor(wanted: BodyInCheck, deadlineMs: number): Promise<CountersignError | undefined> {
    if (this.isAwaited) throw new TypeError("a body is waited for twice");
    return new Promise((resolve) => {
      this.#awaited = wanted;
      this.#settle = resolve;
      this.deadlineMs = deadlineMs;
      this.#all.waiting.add(this);
      this.#look();
    });
  }

  /** The part that a provider sees. A view: the body may grow behind it. */
  view({ maxBytes }: Pick<BodyInCheck, "maxBytes">): CheckedBody {
    const isPartial = this.#length > maxBytes || !this.#isWhole;
    return { bytes: this.#bytes.subarray(0, Math.min(this.#length, maxBytes)), isPartial };
  }

  /** More has come; the bytes are copied. False: there is no memory for them, and the call is to be refused. */
  push(chunk: Uint8Array): boolean {
    const needed = this.#length + chunk.length;
    if (needed > this.#bytes.length && !this.#grow(needed)) return false;
    this.#bytes.set(chunk, this.#length);
    this.#length = needed;
    this.#look();
    return true;
  }

  /** It has come to its end. */
  end(): void {
    this.#hasEnded = true;
    this.#look();
  }

  #grow(needed: number): boolean {
    const room = Math.max(FIRST_BYTES, 2 * this.#bytes.length);
    const capacity = Math.max(needed, Math.min(room, this.#announced ?? room));
    if (!this.#all.take(this, capacity - this.#bytes.length)) return false;
    const grown = Buffer.allocUnsafeSlow(capacity);
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
    return true;
  }

  #look(): void {
    const wanted = this.#awaited;
    if (wanted === undefined) return;
    const { maxBytes, allowPartial } = wanted;
    if (this.#length > maxBytes && !allowPartial) this.#answer(bodyTooLarge(maxBytes));
    else if (this.#isWhole || (allowPartial && this.#length >= maxBytes)) this.#answer(undefined);
  }

  #answer(problem: CountersignError | undefined): void {
    const settle = this.#settle;
    this.#awaited = undefined;
    this.#settle = undefined;
    this.deadlineMs = Number.POSITIVE_INFINITY;
    this.#all.waiting.delete(this);
    settle?.(problem);
  }

  /** Hands it on as far as the upstream takes it now, and holds nothing any more once all of it has gone. False: the rest is for later. */
  passTo(upstream: Pick<UpstreamStream, "data" | "congested">): boolean {
    while (this.#passed < this.#length) {
      if (upstream.congested) return false;
      const from = this.#passed;
      this.#passed = Math.min(this.#length, from + PASSED_BYTES);
      upstream.data(this.#bytes.subarray(from, this.#passed));
    }
    this.#free();
    return true;
  }

  /** Whoever waits for it need not any more, and another one may. What has come stays. */
  stopWaiting(): void {
    if (this.isAwaited) this.#answer(new CountersignError("E_CALLER_GONE", "the call ended before its body was there"));
  }

  /** The call is over. */
  drop(): void {
    this.#free();
    this.stopWaiting();
  }

  #free(): void {
    this.#all.giveBack(this.#bytes.length);
    this.#bytes = NOTHING;
    this.#length = 0;
    this.#passed = 0;
  }
}

/** Why a body that a provider must see whole is refused. */
export function bodyTooLarge(maxBytes: number): CountersignError {
  return new CountersignError("E_EXT_AUTHZ_BODY_TOO_LARGE", `the request's body has more than ${maxBytes} bytes`);
}
