import type { AuditSlot } from "../core/audit-log.ts";
import type { CallFacts, ConnectionFacts } from "../core/call-facts.ts";
import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { AskDecision, CallDecision, Decision, Permit } from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { asCountersignError, CountersignError } from "../core/errors.ts";
import type { Asked } from "./ask-providers.ts";
import { finishOutcome, newOutcome, noteDecision } from "./call-outcomes.ts";
import { providersOf } from "./decide-call.ts";
import { monotonicMs } from "./monotonic.ts";
import { Refusal } from "./refusal.ts";
import { sinksOf } from "./refusals.ts";
import type { Runtime } from "./runtime.ts";
import { TcpCall } from "./tcp-call.ts";
import { NOBODY, SocketTransport, type Transport } from "./transport.ts";
import type { Dialed } from "./upstream/dial.ts";

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

/** The upstream's side of a connection. */
export interface ReachedTcp {
  readonly transport: Transport;
  readonly destination: CallOutcome["destination"];
  readonly address: string;
  /** As of Dialed; undefined where somebody else watches over the identities. */
  readonly verifyAgain: Dialed["verifyAgain"];
  /** Wall clock at which the identities that opened it are over. */
  readonly expiresMs: number;
}

/** How long an open connection waits between its progress records. */
const PROGRESS_MS = 5 * 60_000;

/** A TCP connection as one call: decided, audited, dialled, relayed. */
export class TcpRelay {
  readonly #parts: TcpRelayParts;
  readonly #outcomeSinks: Parameters<typeof finishOutcome>[0];
  #outcome: CallOutcome | undefined;
  #slot: AuditSlot | undefined;
  #permit: Permit | undefined;
  /** Bytes of the caller that came before the upstream was reached. */
  readonly #early: Uint8Array[] = [];
  /** Providers that were asked about it last. */
  #askedProviders = "";
  /** Set while a provider is waited for, with the version of the policy that had it asked. */
  #waitingFor: AbortController | undefined;
  #waitingBy = "";
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
    else if (this.#decide()) this.#open(down);
  }

  /** Allowed: reaches the upstream and relays. */
  #open(down: Transport): void {
    const { runtime } = this.#parts;
    const slot = this.#slot ?? runtime.audit.reserve();
    if (slot === undefined) {
      this.cut("E_AUDIT_UNAVAILABLE", "no audit record could be reserved");
      return;
    }
    this.#slot = slot;
    if (this.#permit === undefined) throw new TypeError("opened before it was allowed");
    this.#parts.reach(this.#permit, (reached) => {
      if (reached instanceof CountersignError) this.#fail(reached);
      else this.#reached(reached, down, slot);
    });
  }

  /** The upstream's side is open. */
  #reached(reached: ReachedTcp, down: Transport, slot: AuditSlot): void {
    const { runtime } = this.#parts;
    const { transport } = reached;
    const outcome = this.#outcome;
    if (
      outcome === undefined ||
      this.#done ||
      (this.#permit?.policyVersion !== runtime.inForce.policy.version && !this.#decide())
    ) {
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
    this.#lastRecordMs = monotonicMs();
    const idleMs = runtime.timeouts.tunnelIdle;
    const onEnded = (): void => {
      this.#done = true;
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

  #decide(): boolean {
    const outcome = this.#outcome;
    if (outcome === undefined) throw new TypeError("decided before it started");
    const facts: CallFacts = { connection: this.#parts.facts, request: undefined };
    const decision = this.#parts.decide(facts);
    if (decision.kind !== "ask") return this.#decided(decision, outcome);
    this.#wait(decision, facts, outcome);
    return false;
  }

  /** Holds the connection until the providers have answered; a newer wait replaces this one. */
  #wait(decision: AskDecision, facts: CallFacts, outcome: CallOutcome): void {
    this.#askedProviders = providersOf(decision);
    const waiting = new AbortController();
    this.#waitingFor?.abort();
    this.#waitingFor = waiting;
    this.#waitingBy = decision.policyVersion;
    const { ask } = this.#parts;
    const none = new CountersignError("E_EXT_AUTHZ_FAILED", "no provider can be asked about this connection");
    const answer = ask?.(decision, facts, outcome, waiting.signal) ?? Promise.resolve(new Refusal(none, 403, []));
    void answer
      .catch((error: unknown) => new Refusal(asCountersignError(error, "E_EXT_AUTHZ_FAILED", none.message), 403, []))
      .then((result) => {
        if (this.#done || this.#waitingFor !== waiting) return;
        this.#waitingFor = undefined;
        const goesOn = this.#answered(result, decision.policyVersion, outcome);
        if (goesOn && this.#call === undefined && this.#down !== undefined) this.#open(this.#down);
      });
  }

  #answered(result: Asked<CallFacts> | Refusal, policyVersion: string, outcome: CallOutcome): boolean {
    // asked by a policy that is not in force any more
    if (policyVersion !== this.#parts.runtime.inForce.policy.version) return this.#decide();
    if (!(result instanceof Refusal)) return this.#decided(result.decision, outcome);
    outcome.policyVersion = policyVersion;
    outcome.rule = result.rule;
    outcome.decision = "deny";
    this.cut(result.error.code, result.error.message);
    return false;
  }

  #decided(decision: Decision, outcome: CallOutcome): boolean {
    noteDecision(outcome, decision);
    if (decision.kind === "allow") {
      this.#permit = decision.permit;
      return true;
    }
    outcome.decision = "deny";
    this.cut(decision.code, decision.reason);
    return false;
  }

  /** A new policy is in force, or time went on and the policy depends on it. */
  reauthorize(): void {
    if (this.#done || this.#permit === undefined) return;
    const { version, dependsOnTime } = this.#parts.runtime.inForce.policy;
    // decided when the answer comes
    if (this.#waitingFor !== undefined && this.#waitingBy === version) return;
    if (this.#permit.policyVersion !== version) this.#decide();
    else if (dependsOnTime) this.#decideAsTimePasses();
  }

  /** The same policy at another time: nobody is asked again who was asked before. */
  #decideAsTimePasses(): void {
    const decision = this.#parts.decide({ connection: this.#parts.facts, request: undefined });
    if (this.#outcome === undefined) return;
    if (decision.kind !== "ask") this.#decided(decision, this.#outcome);
    else if (providersOf(decision) === this.#askedProviders) this.#decided(decision.decision, this.#outcome);
    else this.#decide();
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
    this.#waitingFor?.abort();
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

/** A connection that was dialled for one call. `ownUntilMs`: expiry of our own SVID. */
export function reachedByDial(dialed: Dialed, address: string, ownUntilMs: number | undefined): ReachedTcp {
  const { peer, verifyAgain } = dialed;
  return {
    transport: new SocketTransport(dialed.socket, NOBODY),
    destination: peer === undefined ? undefined : { spiffeId: peer.spiffeId, serial: peer.serial },
    address,
    verifyAgain,
    expiresMs:
      peer === undefined || ownUntilMs === undefined
        ? Number.POSITIVE_INFINITY
        : Math.min(peer.validUntilMs, ownUntilMs),
  };
}
