import type { CallFacts } from "../../core/call-facts.ts";
import type { CallOutcome } from "../../core/call-outcome.ts";
import type { Decision, Permit } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import type { Asked } from "../ask-providers.ts";
import { noteDecision } from "../call-outcomes.ts";
import { PolicyWait } from "../policy-wait.ts";
import { Refusal } from "../refusal.ts";
import type { Runtime } from "../runtime.ts";
import type { TunnelAuthority } from "./tunnel-authority.ts";

interface Waiting {
  readonly wait: Pick<PolicyWait<unknown>, "version" | "drop">;
  /** Decides anew. */
  readonly again: () => void;
}

/** How a tunnel is admitted, and admitted again as more of it is known or the policy changes: decided, and where a provider has to be
 *  asked, held until it answers. */
export class TunnelAdmission {
  readonly #runtime: Runtime;
  readonly #authority: TunnelAuthority;
  readonly #outcome: CallOutcome;
  readonly #onDenied: (error: CountersignError, own: Refusal | undefined) => void;
  #permit: Permit | undefined;
  #waiting: Waiting | undefined;

  /** @param onDenied ends the tunnel; what policy said stands in the outcome by then */
  constructor(
    runtime: Runtime,
    authority: TunnelAuthority,
    outcome: CallOutcome,
    onDenied: (error: CountersignError, own: Refusal | undefined) => void,
  ) {
    this.#runtime = runtime;
    this.#authority = authority;
    this.#outcome = outcome;
    this.#onDenied = onDenied;
  }

  /** Of the last decision that allowed. */
  get permit(): Permit | undefined {
    return this.#permit;
  }

  get #version(): string {
    return this.#runtime.inForce.policy.version;
  }

  /** Decides, asking whoever has to be asked; `next` if the tunnel may go on, which it may at once where nobody is asked. */
  decide(facts: CallFacts, next: () => void): void {
    const decision = this.#authority.decide(facts);
    if (decision.kind === "ask") {
      this.wait(
        (signal) => this.#authority.ask(decision, facts, this.#outcome, signal),
        (asked) => {
          // time has passed since rules about it were looked at; whoever has allowed it is not asked again
          if (!(asked instanceof Refusal) && this.#runtime.inForce.policy.dependsOnTime) this.decide(facts, next);
          else this.settle(asked, next);
        },
        () => this.decide(facts, next),
      );
    } else this.#decided(decision, next);
  }

  /** The same where it is allowed already, unless that was by another policy. */
  proceed(facts: CallFacts, next: () => void): void {
    if (this.#permit?.policyVersion === this.#version) next();
    else this.decide(facts, next);
  }

  /** Holds the tunnel until an answer that never rejects. `again` instead of `then`, if the policy has changed meanwhile. A newer wait replaces this
   *  one. */
  wait<T>(ask: (signal: AbortSignal) => Promise<T>, then: (answer: T) => void, again: () => void): void {
    this.stop();
    const wait = new PolicyWait<T>(this.#version, ask, (answer) => {
      this.#waiting = undefined;
      if (wait.version === this.#version) then(answer);
      else again();
    });
    this.#waiting = { wait, again };
  }

  /** Takes what providers have answered. */
  settle(asked: Asked<CallFacts> | Refusal, next: () => void): void {
    if (!(asked instanceof Refusal)) {
      this.#decided(asked.decision, next);
      return;
    }
    this.#outcome.policyVersion = this.#version;
    this.#outcome.rule = asked.rule;
    this.#onDenied(asked.error, asked);
  }

  #decided(decision: Decision, next: () => void): void {
    this.stop();
    noteDecision(this.#outcome, decision);
    if (decision.kind === "allow") {
      this.#permit = decision.permit;
      next();
    } else this.#onDenied(new CountersignError(decision.code, decision.reason), undefined);
  }

  /** A new policy is in force, or time went on and the policy depends on it. `isOpen`: the tunnel is relayed already; before that its next step
   *  asks whoever has to be asked. */
  reauthorize(facts: CallFacts, isOpen: boolean): void {
    const waiting = this.#waiting;
    const by = waiting?.wait.version ?? this.#permit?.policyVersion;
    if (by === undefined) return;
    const isNew = by !== this.#version;
    if (!isNew && !this.#runtime.inForce.policy.dependsOnTime) return;
    const decision = this.#authority.decide(facts);
    // nothing that a provider says changes what policy sees of a tunnel: what is denied anyway does not go on until it answers
    const verdict = decision.kind === "ask" && isOpen ? decision.decision : decision;
    if (verdict.kind === "deny") this.#decided(verdict, goesOn);
    else if (waiting !== undefined) {
      if (isNew) waiting.again();
    } else if (decision.kind !== "ask") this.#decided(decision, goesOn);
    else if (isOpen) this.decide(facts, goesOn);
  }

  /** Nobody needs an answer any more. */
  stop(): void {
    this.#waiting?.wait.drop();
    this.#waiting = undefined;
  }
}

function goesOn(): void {
  // as before
}
