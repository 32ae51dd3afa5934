import type { CallOutcome } from "../core/call-outcome.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import type { BodySource } from "./ext-authz/check-with-body.ts";
import type { AllowingAnswer, AuthorizationProvider, BodyInCheck, CheckedBody } from "./ext-authz/provider.ts";
import { bodyTooLarge, HeldRequestBody } from "./held-request-body.ts";
import type { HttpService } from "./http-service.ts";
import type { UpstreamStream } from "./http-streams.ts";
import type { RequestHead } from "./http1/http1-events.ts";
import { TimedCall } from "./timed-call.ts";

/** What comes of a call's body before there is an upstream for it: one read's worth waits while the caller rests; only where a provider is to see
 *  the body more of it is read, and held. */
export abstract class EarlyBodyCall extends TimedCall implements BodySource {
  readonly head: RequestHead;
  /** At most one read's worth: the caller is paused. Behind what is held. */
  #waiting: Uint8Array[] | undefined;
  /** Set once a provider wants the body. */
  #held: HeldRequestBody | undefined;
  /** The caller was told to go on with its body: the app need not tell it again. */
  protected hasContinued = false;
  /** There is an upstream, which has not taken all that was held. */
  protected isPassing = false;

  constructor(service: HttpService, head: RequestHead, outcome: CallOutcome) {
    super(service, outcome);
    this.head = head;
  }

  /** Something of it has left toward the upstream or the caller. */
  protected abstract get isOpen(): boolean;

  abstract get requestEnded(): boolean;

  /** Lets the caller send; if it waits for a 100 (RFC 9110 section 10.1.1) and `continues`, tells it to. */
  protected abstract readBody(continues: boolean): void;

  abstract refuse(code: ErrorCode, detail: string): void;

  override get deadlineMs(): number {
    const held = this.#held;
    return held === undefined ? super.deadlineMs : Math.min(super.deadlineMs, held.deadlineMs);
  }

  override onDeadline(nowMs: number): void {
    if (this.#held !== undefined && this.#held.deadlineMs <= nowMs) {
      this.refuse("E_REQUEST_TIMEOUT", "what a provider is to see of the request's body did not arrive in time");
    } else super.onDeadline(nowMs);
  }

  async bodyFor(wanted: BodyInCheck): Promise<CheckedBody | CountersignError | undefined> {
    const { framing, expectContinue } = this.head;
    const announced = framing.kind === "length" ? framing.length : undefined;
    const isEmpty = framing.kind === "none" || announced === 0 || (this.requestEnded && this.outcome.bytesIn === 0);
    if (isEmpty) return undefined;
    if (this.done) return new CountersignError("E_CALLER_GONE", "the call ended before its body was there");
    if (this.isOpen) {
      const why = "a provider is to see the request's body, which went on before that was asked for";
      return new CountersignError("E_EXT_AUTHZ_BODY_PASSED", why);
    }
    const { maxBytes, allowPartial } = wanted;
    if (announced !== undefined && announced > maxBytes && !allowPartial) return bodyTooLarge(maxBytes);
    this.#held ??= new HeldRequestBody(announced, () => this.#giveUp());
    const held = this.#held;
    const came = held.waitFor(wanted, this.service.checkedBodyDeadline());
    const early = this.#waiting;
    this.#waiting = undefined;
    for (const chunk of early ?? []) this.#hold(held, chunk);
    if (this.requestEnded) held.end();
    else if (held.isAwaited && !this.done) this.readBody(expectContinue && this.outcome.bytesIn === 0);
    return (await came) ?? held.view(wanted);
  }

  answerThatStands(provider: AuthorizationProvider): AllowingAnswer | undefined {
    return this.isOpen ? this.#held?.answers.get(provider) : undefined;
  }

  noteAnswer(provider: AuthorizationProvider, answer: AllowingAnswer): void {
    this.#held?.answers.set(provider, answer);
  }

  /** Body bytes have come and there is no upstream for them yet. False: the caller is to rest. */
  protected keepEarly(chunk: Uint8Array): boolean {
    const held = this.#held;
    if (held?.isAwaited === true) {
      this.#hold(held, chunk);
      return true;
    }
    this.#waiting ??= [];
    this.#waiting.push(Buffer.from(chunk));
    return false;
  }

  #hold(held: HeldRequestBody, chunk: Uint8Array): void {
    if (this.done) return;
    const { overload } = this.service;
    if (overload !== undefined) this.refuse(overload.code, overload.message);
    else if (!held.push(chunk)) this.#giveUp();
  }

  #giveUp(): void {
    this.refuse("E_OVERLOADED", "there is no room for more bodies that providers are to see");
  }

  /** As for the body's end. */
  protected endEarly(): void {
    // what waits behind it is not held
    if (this.#waiting === undefined) this.#held?.end();
  }

  /** Hands on what has come so far, as far as the upstream takes it. False: the rest is for when it takes more, and what comes meanwhile is for
   *  `keepEarly`. */
  protected passEarly(upstream: UpstreamStream): boolean {
    this.isPassing = this.#held?.passTo(upstream) === false;
    if (this.isPassing) return false;
    if (this.#waiting === undefined) return true;
    for (const chunk of this.#waiting) upstream.data(chunk);
    this.#waiting = undefined;
    return true;
  }

  /** Nobody asks the provider any more that wants it. What has come stays. */
  protected stopAwaitingBody(): void {
    this.#held?.stopWaiting();
  }

  /** The call is over. */
  protected dropEarly(): void {
    this.#waiting = undefined;
    this.#held?.drop();
  }
}
