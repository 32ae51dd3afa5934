import type { AuditSlot } from "../core/audit-log.ts";
import type { CallFacts, ConnectionFacts } from "../core/call-facts.ts";
import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { AskDecision, CallDecision, Decision, Permit } from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import type { Asked } from "./ask-providers.ts";
import { finishOutcome, newOutcome, noteDecision } from "./call-outcomes.ts";
import { monotonicMs } from "./monotonic.ts";
import { PolicyWait } from "./policy-wait.ts";
import { Refusal } from "./refusal.ts";
import { sinksOf } from "./refusals.ts";
import type { Runtime } from "./runtime.ts";
import { TcpCall } from "./tcp-call.ts";
import type { Transport } from "./transport.ts";
import type { Dialed } from "./upstream/dial.ts";
import type { ReachedTcp } from "./upstream/reached-tcp.ts";
import { asksNobodyNew, NOBODY_ASKED } from "./who-was-asked.ts";

export interface TcpRelayParts {
  readonly runtime: Runtime;
  readonly context: ConnectionContext;
  readonly facts: ConnectionFacts;
  /** The destination as the caller named it, for the record; absent: it named none. */
  readonly authority?: string;
  /** Sent to the upstream before the caller's bytes. */
  readonly preface?: Uint8Array | undefined;
  readonly decide: (facts: CallFacts) => CallDecision;
  /** Asks the providers that a decision waits for; never rejects. Absent: none can be asked here. */
  readonly ask?: (
    decision: AskDecision,
    facts: CallFacts,
    outcome: CallOutcome,
    signal: AbortSignal,
  ) => Promise<Asked<CallFacts> | Refusal>;
  /** Reaches the upstream and calls `done` once. Asked once the connection is allowed. */
  readonly reach: (permit: Permit, done: (reached: ReachedTcp | CountersignError) => void) => void;
}

/** How long an open connection waits between its progress records. */
const PROGRESS_MS = 5 * 60_000;

/** How far a connection has come: nothing of it is under way to an upstream; one is being reached, once; it is relayed. */
type Stage = "held" | "reaching" | "open";

type Answer = Asked<CallFacts> | Refusal;

/** A TCP connection as one call: decided, audited, dialled, relayed. A new policy, or the time, may find it in any stage and have somebody
 *  asked; the answer alone lets a held one go on, the upstream's side alone one that is being reached. */
export class TcpRelay {
  readonly #parts: TcpRelayParts;
  readonly #outcomeSinks: Parameters<typeof finishOutcome>[0];
  readonly #facts: CallFacts;
  #outcome: CallOutcome | undefined;
  #slot: AuditSlot | undefined;
  #permit: Permit | undefined;
  #stage: Stage = "held";
  /** Version of the policy by which its upstream was looked for. */
  #reachedBy = "";
  /** Bytes of the caller that came before the upstream was reached. */
  readonly #early: Uint8Array[] = [];
  /** Who was asked for the permit. */
  #asked = NOBODY_ASKED;
  /** Set while a provider is asked. */
  #wait: PolicyWait<Answer> | undefined;
  #call: TcpCall | undefined;
  #down: Transport | undefined;
  #verifyAgain: Dialed["verifyAgain"];
  #lastRecordMs = 0;
  /** Wall clock at which the identities that opened the upstream's side are over. */
  #expiresMs = Number.POSITIVE_INFINITY;
  #done = false;

  constructor(parts: TcpRelayParts) {
    this.#parts = parts;
    this.#outcomeSinks = sinksOf(parts.runtime);
    this.#facts = { connection: parts.facts, request: undefined };
  }

  /** `early`: bytes of the caller that were read already. The transport is paused or has no reader yet. */
  start(down: Transport, early: Uint8Array | undefined, startedMs: number): void {
    const { context } = this.#parts;
    down.pause();
    this.#down = down;
    const outcome = newOutcome(context, "connection", "tcp", startedMs);
    outcome.authority = this.#parts.authority;
    this.#outcome = outcome;
    // a TLS socket hands out what came with the end of its handshake although it is paused
    if (early !== undefined) this.#early.push(early);
    down.owner = {
      onBytes: (chunk) => void this.#early.push(Uint8Array.from(chunk)),
      onFin: () => undefined,
      onWritable: () => undefined,
      onGone: () =>
        this.#fail(new CountersignError("E_CALLER_GONE", "the caller left before the upstream was reached")),
    };
    const { overload } = this.#parts.runtime;
    if (overload !== undefined) this.#fail(overload);
    else this.#decide();
  }

  /** Allowed: reaches the upstream and relays. */
  #reach(permit: Permit, down: Transport): void {
    const { runtime } = this.#parts;
    const slot = this.#slot ?? runtime.audit.reserve();
    if (slot === undefined) {
      this.cut("E_AUDIT_UNAVAILABLE", "no audit record could be reserved");
      return;
    }
    this.#slot = slot;
    this.#stage = "reaching";
    this.#reachedBy = permit.policyVersion;
    this.#parts.reach(permit, (reached) => {
      if (reached instanceof CountersignError) this.#fail(reached);
      else this.#reached(reached, down, slot);
    });
  }

  /** The upstream's side is open. */
  #reached(reached: ReachedTcp, down: Transport, slot: AuditSlot): void {
    const { runtime } = this.#parts;
    const { transport } = reached;
    const outcome = this.#outcome;
    if (outcome === undefined || this.#done || !this.#mayOpen()) {
      transport.destroy();
      return;
    }
    outcome.destinationAddress = reached.address;
    if (reached.destination !== undefined) outcome.destination = reached.destination;
    outcome.upstreamMs = monotonicMs() - outcome.durationMs;
    this.#verifyAgain = reached.verifyAgain;
    this.#expiresMs = reached.expiresMs;
    // the identity may have changed while the handshake ran
    this.reverify(Date.now());
    if (this.#done) {
      transport.destroy();
      return;
    }
    this.#stage = "open";
    this.#lastRecordMs = monotonicMs();
    const idleMs = runtime.timeouts.tunnelIdle;
    const onEnded = (): void => {
      this.#done = true;
      this.#stopWaiting();
      if (this.#call !== undefined) runtime.deadlines.delete(this.#call);
    };
    const { preface } = this.#parts;
    if (preface !== undefined) transport.writeBytes(preface);
    const call = new TcpCall(
      { sinks: this.#outcomeSinks, outcome, slot, idleMs, onEnded },
      down,
      transport,
      this.#early.length > 1 ? Buffer.concat(this.#early) : this.#early[0],
    );
    this.#call = call;
    if (!this.#done) runtime.deadlines.add(call);
  }

  /** It is reached, and policy still wants that. False: it was refused, or it is reached again once somebody has answered. */
  #mayOpen(): boolean {
    const { version } = this.#parts.runtime.inForce.policy;
    if (this.#wait?.version === version) {
      this.#stage = "held";
      return false;
    }
    if (this.#reachedBy === version) return true;
    // what was decided meanwhile did not know yet where it leads
    const asked = this.#permit?.policyVersion === version ? this.#asked : NOBODY_ASKED;
    const decision = this.#decisionNow(asked);
    if (decision.kind === "ask") {
      this.#stage = "held";
      this.#ask(decision);
      return false;
    }
    this.#decided(decision, asked);
    return !this.#done;
  }

  /** By the policy in force, asking whoever has to be asked. */
  #decide(): void {
    const decision = this.#decisionNow(NOBODY_ASKED);
    if (decision.kind === "ask") this.#ask(decision);
    else this.#decided(decision, NOBODY_ASKED);
  }

  /** `asked`: who has had a say already. */
  #decisionNow(asked: ReadonlySet<string>): CallDecision {
    const decision = this.#parts.decide(this.#facts);
    if (decision.kind !== "ask") return decision;
    // nothing that a provider says changes what policy sees of a connection: what is under way need not go on until it answers
    const isOver = this.#stage !== "held" && decision.decision.kind === "deny";
    return isOver || asksNobodyNew(decision, asked) ? decision.decision : decision;
  }

  /** The one way on, or out. What was asked is void. */
  #decided(decision: Decision, asked: ReadonlySet<string>): void {
    this.#stopWaiting();
    const outcome = this.#outcome;
    if (outcome === undefined) throw new TypeError("decided before it started");
    noteDecision(outcome, decision);
    if (decision.kind === "allow") {
      this.#permit = decision.permit;
      this.#asked = asked;
      if (this.#stage === "held" && this.#down !== undefined) this.#reach(decision.permit, this.#down);
      return;
    }
    outcome.decision = "deny";
    this.cut(decision.code, decision.reason);
  }

  /** Has providers asked; one that is held waits for that. */
  #ask(decision: AskDecision): void {
    this.#stopWaiting();
    const { ask } = this.#parts;
    const outcome = this.#outcome;
    if (outcome === undefined) throw new TypeError("asked before it started");
    this.#wait = new PolicyWait<Answer>(
      decision.policyVersion,
      (signal) => (ask?.(decision, this.#facts, outcome, signal) ?? Promise.resolve(NOT_ASKED)).catch(couldNotBeAsked),
      (answer) => this.#answered(answer, decision, outcome),
    );
  }

  #answered(answer: Answer, first: AskDecision, outcome: CallOutcome): void {
    this.#wait = undefined;
    const { version, dependsOnTime } = this.#parts.runtime.inForce.policy;
    if (this.#done) return;
    if (first.policyVersion !== version) this.#decide();
    else if (answer instanceof Refusal) {
      outcome.policyVersion = version;
      outcome.rule = answer.rule;
      outcome.decision = "deny";
      this.cut(answer.error.code, answer.error.message);
    } else {
      const asked = answer.providers;
      // time has passed since rules about it were looked at
      const decision = dependsOnTime ? this.#decisionNow(asked) : answer.decision;
      if (decision.kind === "ask") this.#ask(decision);
      else this.#decided(decision, asked);
    }
  }

  #stopWaiting(): void {
    this.#wait?.drop();
    this.#wait = undefined;
  }

  /** A new policy is in force, or time went on and the policy depends on it. */
  reauthorize(): void {
    const by = this.#wait?.version ?? this.#permit?.policyVersion;
    if (this.#done || by === undefined) return;
    const { version, dependsOnTime } = this.#parts.runtime.inForce.policy;
    if (by !== version) this.#decide();
    else if (dependsOnTime) this.#decideAsTimePasses();
  }

  /** The same policy at another time: nobody is asked again who was asked before, and what is asked goes on being asked. */
  #decideAsTimePasses(): void {
    const isWaiting = this.#wait !== undefined;
    const asked = isWaiting ? NOBODY_ASKED : this.#asked;
    const decision = this.#decisionNow(asked);
    if (decision.kind === "deny" || (decision.kind === "allow" && !isWaiting)) this.#decided(decision, asked);
    else if (decision.kind === "ask" && !isWaiting) this.#ask(decision);
  }

  /** A new identity snapshot: the upstream's side is verified again. */
  reverify(nowMs: number): void {
    const { identity } = this.#parts.runtime;
    if (this.#done || this.#verifyAgain === undefined) return;
    if (identity.kind !== "serving" && identity.kind !== "stale") {
      if (identity.kind !== "waiting") this.cut(identity.problem.code, identity.problem.message);
      return;
    }
    const problem = this.#verifyAgain(identity.snapshot, nowMs);
    if (problem !== undefined) this.cut("E_PEER_NO_LONGER_TRUSTED", problem.message);
  }

  onTick(nowWallMs: number): void {
    if (this.#call !== undefined && nowWallMs >= this.#expiresMs) {
      this.cut("E_PEER_EXPIRED_OPEN", "the identity that opened the connection expired");
      return;
    }
    const nowMs = monotonicMs();
    if (this.#call === undefined || nowMs - this.#lastRecordMs < PROGRESS_MS) return;
    this.#lastRecordMs = nowMs;
    this.#call.progress();
  }

  #fail(error: CountersignError): void {
    if (this.#done) return;
    if (this.#outcome !== undefined) this.#outcome.decision = "error";
    this.cut(error.code, error.message);
  }

  /** Ends it now, with this code in its record. */
  cut(code: ErrorCode, detail: string): void {
    if (this.#done) return;
    if (this.#call !== undefined) {
      this.#call.cut(code, detail);
      return;
    }
    this.#done = true;
    this.#stopWaiting();
    const outcome = this.#outcome;
    if (outcome !== undefined) {
      outcome.reason = code;
      outcome.detail = detail;
      outcome.close = "refused";
      if (code.startsWith("E_POLICY_") || code.startsWith("E_EXT_AUTHZ_")) outcome.decision = "deny";
      else if (outcome.decision === "allow") outcome.decision = "error";
      finishOutcome(this.#outcomeSinks, outcome, this.#slot);
    }
    this.#down?.abort();
  }
}

const NOT_ASKED = new Refusal(
  new CountersignError("E_EXT_AUTHZ_FAILED", "no provider can be asked about this connection"),
  403,
  [],
);

function couldNotBeAsked(error: unknown): Refusal {
  return new Refusal(asCountersignError(error, "E_EXT_AUTHZ_FAILED", NOT_ASKED.error.message), 403, []);
}
