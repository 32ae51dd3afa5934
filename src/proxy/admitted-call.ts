import type { Decision, Permit } from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import type { Asked } from "./ask-providers.ts";
import { noteDecision } from "./call-outcomes.ts";
import { providersOf } from "./decide-call.ts";
import { EarlyBodyCall } from "./early-body-call.ts";
import type { PreparedCall } from "./http-service.ts";
import { Refusal } from "./refusal.ts";

/** How an HTTP call is admitted, and admitted again while it is open: authenticated, decided, and where a token's keys or a provider have to be
 *  asked, held until they answer. */
export abstract class AdmittedCall extends EarlyBodyCall {
  /** As it came. */
  #prepared: PreparedCall | undefined;
  /** As policy sees it: with the identity that its token proved, without what is not passed on. */
  protected facts: PreparedCall | undefined;
  protected permit: Permit | undefined;
  /** Set while a token's keys or a provider are waited for, with the version of the policy that has it wait. */
  #waitingFor: AbortController | undefined;
  #waitingBy = "";
  /** Providers that were asked about it last. */
  #askedProviders = "";

  /** It is admitted, for the first time. */
  protected abstract forward(): void;

  /** Ends the call with a stable code: answered locally if nothing of a response has left yet, else broken off. `own`: how whoever refused it
   *  wants it answered. */
  abstract override refuse(code: ErrorCode, detail: string, status?: number, own?: Refusal): void;

  start(): void {
    const prepared = this.service.prepare(this.head, this.outcome);
    if (prepared instanceof CountersignError) {
      this.refuse(prepared.code, prepared.message);
      return;
    }
    this.#prepared = prepared;
    const { overload } = this.service;
    if (overload !== undefined) {
      this.refuse(overload.code, overload.message);
      return;
    }
    if (this.#admit(prepared)) this.forward();
  }

  /** Authenticates and decides by the policy in force. True: the call may go on now, as nearly always. False: it was refused, or it waits
   *  and goes on by itself. */
  #admit(prepared: PreparedCall): boolean {
    const authenticated = this.service.authenticate(this.head, prepared);
    if (!(authenticated instanceof Promise)) return this.#authorize(authenticated);
    this.#wait(new AbortController(), authenticated);
    return false;
  }

  /** Decides and, on a denial, answers. */
  #authorize(facts: PreparedCall): boolean {
    this.facts = facts;
    if (facts.request.identity !== undefined) this.outcome.principal = requestPrincipal(facts);
    const decision = this.service.decide(facts);
    if (decision.kind !== "ask") return this.#decided(decision);
    this.#askedProviders = providersOf(decision);
    const waiting = new AbortController();
    this.#wait(waiting, this.service.ask(decision, this.head, facts, this.outcome, waiting.signal, this));
    return false;
  }

  /** A call that is open already keeps what it has, or ends. */
  #decided(decision: Decision): boolean {
    const { outcome } = this;
    const { isOpen } = this;
    noteDecision(outcome, decision);
    if (decision.kind === "allow") {
      this.permit = decision.permit;
      return !isOpen;
    }
    this.permit = undefined;
    if (isOpen) outcome.close = "policy-changed";
    this.refuse(decision.code, decision.reason);
    return false;
  }

  /** Holds the call until the answer: a body meanwhile stays with the caller, but for one read and what a provider wants of it. A newer wait
   *  replaces this one. */
  #wait(waiting: AbortController, answer: Promise<PreparedCall | Asked<PreparedCall> | Refusal>): void {
    this.#waitingFor?.abort();
    this.#waitingFor = waiting;
    const version = this.service.policyVersion;
    this.#waitingBy = version;
    void answer
      .catch(
        (error: unknown) =>
          new Refusal(asCountersignError(error, "E_EXT_AUTHZ_FAILED", "the call could not be admitted"), 503, []),
      )
      .then((result) => {
        if (this.done || this.#waitingFor !== waiting) return;
        this.#waitingFor = undefined;
        if (this.#goesOn(result, version)) this.forward();
      });
  }

  #goesOn(result: PreparedCall | Asked<PreparedCall> | Refusal, version: string): boolean {
    const prepared = this.#prepared;
    if (prepared === undefined) throw new TypeError("waited before prepare");
    // what was waited for was asked by a policy that is not in force any more
    if (version !== this.service.policyVersion) return this.#admit(prepared);
    if (result instanceof Refusal) {
      const { error, status, rule } = result;
      this.outcome.policyVersion = version;
      this.outcome.rule = rule;
      this.outcome.decision = status === 503 ? "error" : "deny";
      if (this.isOpen) this.outcome.close = "policy-changed";
      this.refuse(error.code, error.message, status, result);
      return false;
    }
    if (!("decision" in result)) return this.#authorize(result);
    const facts = result.call;
    this.outcome.principal = requestPrincipal(facts);
    this.facts = facts;
    return this.#decided(result.decision);
  }

  /** Nobody needs the answer any more that is waited for. */
  protected stopWaiting(): void {
    this.#waitingFor?.abort();
  }

  /** A new policy is in force, or time went on and the policy depends on it: a call that is no longer allowed ends, whatever state it is in. */
  reauthorize(): void {
    if (this.done || this.#prepared === undefined || this.permit === undefined) return;
    const { policyVersion } = this.service;
    const isNew = this.permit.policyVersion !== policyVersion;
    // one that still waits for an upstream is decided anew once it has it; one that waits for an answer, when it comes
    if (!this.isOpen || (!isNew && !this.service.dependsOnTime)) return;
    if (this.#waitingFor !== undefined && this.#waitingBy === policyVersion) return;
    if (isNew) this.#admit(this.#prepared);
    else this.#decideAsTimePasses();
  }

  /** The same policy at another time: nobody is asked again who was asked before. */
  #decideAsTimePasses(): void {
    if (this.facts === undefined) return;
    const decision = this.service.decide(this.facts);
    if (decision.kind !== "ask") this.#decided(decision);
    else if (providersOf(decision) === this.#askedProviders) this.#decided(decision.decision);
    else this.#authorize(this.facts);
  }
}

function requestPrincipal({ request }: PreparedCall): string | undefined {
  const { identity } = request;
  return identity === undefined ? undefined : `${identity.issuer}/${identity.subject}`;
}
