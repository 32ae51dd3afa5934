import type { AskDecision, Decision, Permit } from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import type { Asked } from "./ask-providers.ts";
import { noteDecision } from "./call-outcomes.ts";
import { EarlyBodyCall } from "./early-body-call.ts";
import type { PreparedCall } from "./http-service.ts";
import { PolicyWait } from "./policy-wait.ts";
import { Refusal } from "./refusal.ts";
import { asksNobodyNew, NOBODY_ASKED } from "./who-was-asked.ts";

/** How far a call has come: nothing of it is under way to an upstream; one is being looked for, once; one has it, or its response has begun. */
type Stage = "held" | "acquiring" | "open";

type Answer = PreparedCall | Asked<PreparedCall> | Refusal;

/** How long an open call goes on while somebody is asked about it although policy denies it by what is known: an answer may still bring what
 *  allows it. With the tick that looks at it less than a second. */
const PATIENCE_MS = 400;

/** How an HTTP call is admitted, and admitted again in whatever stage a new policy or the time finds it: authenticated, decided, and where
 *  a token's keys or a provider have to be asked, held until they answer. At most one question is open, put by one policy; a newer decision or question
 *  makes it void. Its answer alone lets a held call go on, the upstream that was looked for alone an acquiring one, so that each step has one
 *  cause. A request leaves only under the policy by which it was made. */
export abstract class AdmittedCall extends EarlyBodyCall {
  /** As it came. */
  #prepared: PreparedCall | undefined;
  /** As policy allowed it: with the identity that its token proved, without what is not passed on. */
  protected facts: PreparedCall | undefined;
  protected permit: Permit | undefined;
  #stage: Stage = "held";
  /** What the request was made of, and under which version of the policy. */
  #madeOf: PreparedCall | undefined;
  #madeBy = "";
  /** Who was asked for the permit. */
  #asked = NOBODY_ASKED;
  /** Set while somebody is asked. */
  #wait: PolicyWait<Answer> | undefined;
  /** Of a call that waits: by what policy could decide meanwhile; undefined: too little is known. */
  #known: PreparedCall | undefined;
  /** Of an open call that waits: since when, monotonic. */
  #waitsSinceMs = 0;

  /** It is admitted and held: makes the request and looks for an upstream. */
  protected abstract forward(): void;

  /** Ends the call with a stable code: answered locally if nothing of a response has left yet, else broken off. `own`: how whoever refused it
   *  wants it answered. */
  abstract override refuse(code: ErrorCode, detail: string, status?: number, own?: Refusal): void;

  protected get isOpen(): boolean {
    return this.#stage === "open";
  }

  start(): void {
    const prepared = this.#prepare();
    if (prepared === undefined) return;
    const { overload } = this.service;
    if (overload !== undefined) this.refuse(overload.code, overload.message);
    else this.#admit(prepared);
  }

  /** By the policy in force. undefined: it was refused. */
  #prepare(): PreparedCall | undefined {
    const prepared = this.service.prepare(this.head, this.outcome);
    if (prepared instanceof CountersignError) {
      this.refuse(prepared.code, prepared.message);
      return undefined;
    }
    this.#prepared = prepared;
    return prepared;
  }

  /** Authenticates and decides by the policy in force. Nearly always that is done at once. */
  #admit(prepared: PreparedCall): void {
    const authenticated = this.service.authenticate(this.head, prepared);
    if (authenticated instanceof Promise) this.#ask(authenticated, this.isOpen ? this.facts : undefined);
    else this.#authorize(authenticated);
  }

  #authorize(facts: PreparedCall): void {
    if (facts.request.identity !== undefined) this.outcome.principal = requestPrincipal(facts);
    const decision = this.service.decide(facts);
    if (decision.kind === "ask") this.#askProviders(decision, facts, this.#changedAsBefore(facts));
    else this.#decided(decision, facts, NOBODY_ASKED);
  }

  /** The one way on, or out. What was asked is void. */
  #decided(decision: Decision, facts: PreparedCall, asked: ReadonlySet<string>): void {
    this.stopWaiting();
    noteDecision(this.outcome, decision);
    if (decision.kind === "allow") {
      this.permit = decision.permit;
      this.facts = facts;
      this.#asked = asked;
      if (this.#stage === "held") this.#goOn(decision.permit);
      return;
    }
    this.permit = undefined;
    if (this.isOpen) this.outcome.close = "policy-changed";
    this.refuse(decision.code, decision.reason);
  }

  #goOn(permit: Permit): void {
    this.#madeOf = this.facts;
    this.#madeBy = permit.policyVersion;
    this.forward();
  }

  // ── questions ──

  /** What providers have made of an open call is known of it, whoever its end user is by now. */
  #changedAsBefore(facts: PreparedCall): PreparedCall {
    const { service, head } = this;
    const changes = this.isOpen ? this.facts?.edited?.changes : undefined;
    return changes?.reduce((call, one) => service.changed(head, call, one), facts) ?? facts;
  }

  #askProviders(decision: AskDecision, facts: PreparedCall, known: PreparedCall): void {
    this.#ask((signal) => this.service.ask(decision, this.head, facts, this.outcome, signal, this), known);
  }

  /** Holds a call that is not open until the answer: a body meanwhile stays with the caller, but for one read and what a provider wants of
   *  it. */
  #ask(answer: Promise<Answer> | ((signal: AbortSignal) => Promise<Answer>), known: PreparedCall | undefined): void {
    this.stopWaiting();
    const wait = new PolicyWait<Answer>(
      this.service.policyVersion,
      (signal) => (answer instanceof Promise ? answer : answer(signal)).catch(couldNotBeAsked),
      (result) => this.#answered(result, wait.version),
    );
    this.#known = known;
    this.#wait = wait;
    // what a provider wants of the body may have ended the call already
    if (this.done) this.stopWaiting();
  }

  #answered(answer: Answer, version: string): void {
    this.#wait = undefined;
    this.#known = undefined;
    if (this.done) return;
    if (version !== this.service.policyVersion) this.#admitAgain();
    else if (answer instanceof Refusal) this.#refused(answer, version);
    else if (!("decision" in answer)) this.#authorize(answer);
    else {
      const { call, providers } = answer;
      this.outcome.principal = requestPrincipal(call);
      // time has passed since rules about it were looked at
      if (this.service.dependsOnTime) this.#decideNow(call, providers);
      else this.#decided(answer.decision, call, providers);
    }
  }

  #refused(refusal: Refusal, version: string): void {
    const { outcome } = this;
    const { error, status, rule } = refusal;
    outcome.policyVersion = version;
    outcome.rule = rule;
    outcome.decision = status === 503 ? "error" : "deny";
    if (this.isOpen) outcome.close = "policy-changed";
    this.refuse(error.code, error.message, status, refusal);
  }

  /** Nobody needs the answer any more that is waited for. */
  protected stopWaiting(): void {
    const wait = this.#wait;
    if (wait === undefined) return;
    this.#wait = undefined;
    this.#known = undefined;
    wait.drop();
    this.stopAwaitingBody();
  }

  // ── toward the upstream ──

  /** The request is looked for an upstream from now on. */
  protected acquires(): void {
    this.#stage = "acquiring";
  }

  /** The request is as policy has allowed it last, and nobody is asked. */
  get #mayLeave(): boolean {
    return this.#wait === undefined && this.#madeOf === this.facts && this.#madeBy === this.service.policyVersion;
  }

  /** The upstream that was looked for is there. False: the request may not go to it, since policy is another one now or asks somebody; the call
   *  goes on by itself. */
  protected opens(): boolean {
    if (this.#mayLeave) {
      this.#stage = "open";
      return true;
    }
    const { policyVersion } = this.service;
    this.#stage = "held";
    // decided anew already, or when the answer comes
    if (this.#wait === undefined && this.permit?.policyVersion === policyVersion) this.#goOn(this.permit);
    else if (this.#wait?.version !== policyVersion) this.#admitAnew();
    return false;
  }

  /** What it was sent on broke before anything came back. False: it may not be sent again as it was; the call goes on by itself. */
  protected opensAgain(): boolean {
    this.#stage = "held";
    if (this.#mayLeave) return true;
    this.#admitAnew();
    return false;
  }

  // ── another policy, another time ──

  /** A new policy is in force, or time went on and the policy depends on it: a call that is no longer allowed ends, whatever state it is in. */
  reauthorize(): void {
    const by = this.#wait?.version ?? this.permit?.policyVersion;
    if (this.done || by === undefined) return;
    const { policyVersion, dependsOnTime } = this.service;
    if (by !== policyVersion) {
      this.#countPatience();
      this.#admitAgain();
    } else if (dependsOnTime) this.#decideAsTimePasses();
  }

  #admitAgain(): void {
    const prepared = this.#prepared;
    if (!this.isOpen || prepared === undefined) {
      this.#admitAnew();
      return;
    }
    const problem = this.service.openProblem(prepared, this.head);
    if (problem === undefined) this.#admit(prepared);
    else this.#endUndecided(problem);
  }

  /** A new call like it would be refused before any rule is asked. */
  #endUndecided({ code, message }: CountersignError): void {
    const { outcome } = this;
    this.stopWaiting();
    this.permit = undefined;
    outcome.decision = "deny";
    outcome.policyVersion = this.service.policyVersion;
    outcome.rule = undefined;
    outcome.nearest = undefined;
    outcome.notes = undefined;
    outcome.close = "policy-changed";
    this.refuse(code, message);
  }

  /** From the beginning: nothing of it is under way that another policy has read. */
  #admitAnew(): void {
    this.stopWaiting();
    const prepared = this.#prepare();
    if (prepared !== undefined) this.#admit(prepared);
  }

  #decideAsTimePasses(): void {
    if (this.#wait === undefined) {
      if (this.facts === undefined) return;
      this.#countPatience();
      this.#decideNow(this.facts, this.#asked);
    } else if (!this.isOpen && this.#known !== undefined) {
      // what nobody's answer can change
      const decision = this.service.decide(this.#known);
      if (decision.kind === "deny") this.#decided(decision, this.#known, NOBODY_ASKED);
    }
  }

  /** Nobody is asked who was asked before. */
  #decideNow(facts: PreparedCall, asked: ReadonlySet<string>): void {
    const decision = this.service.decide(facts);
    if (decision.kind !== "ask") this.#decided(decision, facts, asked);
    else if (asksNobodyNew(decision, asked)) this.#decided(decision.decision, facts, asked);
    else this.#askProviders(decision, facts, facts);
  }

  #countPatience(): void {
    if (this.#wait === undefined) this.#waitsSinceMs = this.service.nowMs();
  }

  override onTick(): void {
    super.onTick();
    const known = this.#known;
    if (known === undefined || !this.isOpen || this.done) return;
    if (this.service.nowMs() - this.#waitsSinceMs < PATIENCE_MS) return;
    const decision = this.service.decide(known);
    const meanwhile = decision.kind === "ask" ? decision.decision : decision;
    if (meanwhile.kind === "deny") this.#decided(meanwhile, known, NOBODY_ASKED);
  }
}

function couldNotBeAsked(error: unknown): Refusal {
  const problem = asCountersignError(error, "E_EXT_AUTHZ_FAILED", "the call could not be admitted");
  return new Refusal(problem, 503, []);
}

function requestPrincipal({ request }: PreparedCall): string | undefined {
  const { identity } = request;
  return identity === undefined ? undefined : `${identity.issuer}/${identity.subject}`;
}
