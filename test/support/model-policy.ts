import fc from "fast-check";
import type { CallDecision, Decision, Permit, RuleId } from "../../src/core/decision.ts";
import { CountersignError } from "../../src/core/errors.ts";
import type { Asked } from "../../src/proxy/ask-providers.ts";
import { Refusal } from "../../src/proxy/refusal.ts";

/** What models of calls need of a set of policies: whom it asks, and what it says. */
export interface ModelPolicy {
  /** Keys of a token are fetched first. */
  readonly asksForKeys: boolean;
  /** From when and until when a CUSTOM rule has a provider asked, from when the set came. */
  readonly asksProvider: readonly [fromMs: number, untilMs: number];
  /** What its rules say, whatever anybody answers. */
  readonly allows: boolean;
  /** An ALLOW rule needs what only the provider adds. */
  readonly needsChange: boolean;
  /** What it adds once it is known where a connection leads. */
  readonly there: "nothing" | "asks" | "denies";
  /** How long its ALLOW rules hold from when it came; undefined: for ever. */
  readonly holdsMs: number | undefined;
}

const FOR_EVER = Number.POSITIVE_INFINITY;

export const modelPolicies: fc.Arbitrary<ModelPolicy> = fc.record({
  asksForKeys: fc.boolean(),
  asksProvider: fc.constantFrom([0, 0], [0, FOR_EVER], [0, FOR_EVER], [0, 700], [700, FOR_EVER], [300, 1500]),
  allows: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  needsChange: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  there: fc.constantFrom("nothing", "nothing", "nothing", "asks", "denies"),
  holdsMs: fc.option(fc.integer({ min: 0, max: 4000 }), { nil: undefined }),
});

/** What happens in a model, and on which of what waits. */
export const modelSteps = fc.array(fc.record({ event: fc.nat(), pick: fc.nat(), policy: modelPolicies }), {
  maxLength: 40,
  size: "max",
});

export type ModelStep = typeof modelSteps extends fc.Arbitrary<readonly (infer Step)[]> ? Step : never;

/** Somebody who was asked and has not answered. */
export interface Question {
  readonly version: string;
  readonly signal: AbortSignal | undefined;
  /** Answers that the call may go on as far as it is asked, or not. */
  readonly answer: (allows: boolean) => void;
}

export const REFUSAL = new Refusal(new CountersignError("E_EXT_AUTHZ_DENIED", "the model's provider denies"), 403, []);
const RULE = "ns[model]-policy[a]-rule[0]" as RuleId;
const PROVIDER = "p";

/** The policy in force, the clock, and who is asked. */
export class ModelWorld {
  nowMs = 1000;
  policy: ModelPolicy;
  #version = 1;
  #sinceMs = this.nowMs;
  /** Since when its rules deny, whatever anybody answers; undefined: they allow. */
  #deniesSinceMs: number | undefined;
  readonly questions: Question[] = [];

  constructor(policy: ModelPolicy) {
    this.policy = policy;
    this.#look();
  }

  get version(): string {
    return `v${this.#version}`;
  }

  get dependsOnTime(): boolean {
    const { asksProvider, holdsMs } = this.policy;
    return holdsMs !== undefined || asksProvider.some((ms) => ms > 0 && ms < FOR_EVER);
  }

  /** A CUSTOM rule has a provider asked now. */
  get asksProvider(): boolean {
    const [fromMs, untilMs] = this.policy.asksProvider;
    const ageMs = this.nowMs - this.#sinceMs;
    return ageMs >= fromMs && ageMs < untilMs;
  }

  /** Its rules deny, whatever anybody answers. */
  get denies(): boolean {
    return this.#deniesSinceMs !== undefined;
  }

  /** For how long that has been so. */
  get deniesForMs(): number {
    return this.#deniesSinceMs === undefined ? 0 : this.nowMs - this.#deniesSinceMs;
  }

  load(policy: ModelPolicy): void {
    this.policy = policy;
    this.#version++;
    this.#sinceMs = this.nowMs;
    this.#look();
  }

  advance(ms: number): void {
    this.nowMs += ms;
    this.#look();
  }

  #look(): void {
    const { allows, holdsMs = FOR_EVER } = this.policy;
    const denies = !allows || this.nowMs >= this.#sinceMs + holdsMs;
    this.#deniesSinceMs = denies ? (this.#deniesSinceMs ?? this.nowMs) : undefined;
  }

  /** By the policy in force now. `isChanged`: the provider has added something; `isThere`: it is known where the call leads. */
  decide(isChanged: boolean, isThere = false): CallDecision {
    const policyVersion = this.version;
    const decision = this.#verdict(isChanged, isThere);
    return this.asksProvider || (isThere && this.policy.there === "asks")
      ? { kind: "ask", providers: [{ provider: PROVIDER, rule: RULE }], decision, policyVersion }
      : decision;
  }

  #verdict(isChanged: boolean, isThere: boolean): Decision {
    const policyVersion = this.version;
    const deny = (code: "E_POLICY_DENIED_BY_RULE" | "E_POLICY_DENIED_BY_DEFAULT"): Decision => ({
      kind: "deny",
      code,
      rule: undefined,
      reason: "the model denies",
      nearest: undefined,
      policyVersion,
    });
    if (this.denies || (isThere && this.policy.there === "denies")) return deny("E_POLICY_DENIED_BY_RULE");
    if (this.policy.needsChange && !isChanged) return deny("E_POLICY_DENIED_BY_DEFAULT");
    return { kind: "allow", permit: { policyVersion, rule: undefined } as unknown as Permit, reason: "rule" };
  }

  /** Asks somebody; `yes` is what an answer that allows is, made when it is given. */
  ask<T>(signal: AbortSignal | undefined, yes: () => T): Promise<T | Refusal> {
    return new Promise((resolve) => {
      const question: Question = {
        version: this.version,
        signal,
        answer: (allows) => {
          this.questions.splice(this.questions.indexOf(question), 1);
          resolve(allows ? yes() : REFUSAL);
        },
      };
      this.questions.push(question);
    });
  }

  answerAll(): void {
    for (let [first] = this.questions; first !== undefined; [first] = this.questions) first.answer(true);
  }

  /** What a provider's leave comes to. */
  asked<Call>(call: Call, decision: CallDecision): Asked<Call> {
    return {
      call,
      decision: decision.kind === "ask" ? decision.decision : decision,
      providers: new Set([PROVIDER]),
    };
  }

  /** Those whose answer somebody still wants. */
  get awaited(): readonly Question[] {
    return this.questions.filter(({ signal }) => signal?.aborted !== true);
  }
}

/** Lets all that follows from what has happened happen. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
