import type { AuditSlot } from "../core/audit-log.ts";
import type { CallFacts, ConnectionFacts } from "../core/call-facts.ts";
import type { CallOutcome, ConnectionContext } from "../core/call-outcome.ts";
import type { Decision, Permit } from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import { finishOutcome, newOutcome } from "./call-outcomes.ts";
import { monotonicMs } from "./monotonic.ts";
import { sinksOf } from "./refusals.ts";
import type { Runtime } from "./runtime.ts";
import { TcpCall } from "./tcp-call.ts";
import type { Transport } from "./transport.ts";
import type { Dialed } from "./upstream/dial.ts";
import { type DialPlan, dialAny } from "./upstream/dial-any.ts";

export interface TcpRelayParts {
  readonly runtime: Runtime;
  readonly context: ConnectionContext;
  readonly facts: ConnectionFacts;
  /** The destination as the caller named it, for the record; absent: it named none. */
  readonly authority?: string;
  readonly decide: (facts: CallFacts) => Decision;
  /** Where to, or why nowhere. Asked once the connection is allowed. */
  readonly dial: () =>
    | Pick<DialPlan, "endpoints" | "serverName" | "source" | "identity" | "withoutAlpn">
    | CountersignError;
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
    const { runtime, context } = this.#parts;
    down.pause();
    this.#down = down;
    const outcome = newOutcome(context, "connection", "tcp", startedMs);
    outcome.authority = this.#parts.authority;
    this.#outcome = outcome;
    if (!this.#decide()) return;
    const slot = runtime.audit.reserve();
    if (slot === undefined) {
      this.cut("E_AUDIT_UNAVAILABLE", "no audit record could be reserved");
      return;
    }
    this.#slot = slot;
    // a TLS socket hands out what came with the end of its handshake although it is paused
    const waiting: Uint8Array[] = early === undefined ? [] : [early];
    down.owner = {
      onBytes: (chunk) => void waiting.push(Uint8Array.from(chunk)),
      onFin: () => undefined,
      onWritable: () => undefined,
      onGone: () =>
        this.#fail(new CountersignError("E_CALLER_GONE", "the caller left before the upstream was reached")),
    };
    const target = this.#parts.dial();
    if (target instanceof CountersignError) {
      this.#fail(target);
      return;
    }
    const { connect, handshake } = runtime.timeouts;
    const plan: DialPlan = {
      ...target,
      connectTimeoutMs: connect,
      handshakeTimeoutMs: handshake,
      deadlines: runtime.deadlines,
      verifyPeer: runtime.verifyPeer,
    };
    dialAny(plan, 0, (result) => {
      if (result.kind === "failed") {
        outcome.destinationAddress = result.address;
        this.#fail(result.error);
        return;
      }
      const { dialed } = result;
      if (this.#done || (this.#permit?.policyVersion !== runtime.inForce.policy.version && !this.#decide())) {
        dialed.socket.destroy();
        return;
      }
      outcome.destinationAddress = result.address;
      if (dialed.peer !== undefined)
        outcome.destination = { spiffeId: dialed.peer.spiffeId, serial: dialed.peer.serial };
      outcome.upstreamMs = monotonicMs() - outcome.durationMs;
      this.#verifyAgain = dialed.verifyAgain;
      if (dialed.peer !== undefined && target.identity !== undefined) {
        this.#expiresMs = Math.min(dialed.peer.validUntilMs, target.identity.svid.notAfterMs);
      }
      // the identity may have changed while the handshake ran
      this.reverify(Date.now());
      if (this.#done) {
        dialed.socket.destroy();
        return;
      }
      this.#lastRecordMs = monotonicMs();
      const idleMs = runtime.timeouts.tunnelIdle;
      const onEnded = (): void => {
        this.#done = true;
        if (this.#call !== undefined) runtime.deadlines.delete(this.#call);
      };
      const call = new TcpCall(
        { sinks: this.#outcomeSinks, outcome, slot, idleMs, onEnded },
        down,
        dialed.socket,
        waiting.length > 1 ? Buffer.concat(waiting) : waiting[0],
      );
      this.#call = call;
      if (!this.#done) runtime.deadlines.add(call);
    });
  }

  #decide(): boolean {
    const outcome = this.#outcome;
    if (outcome === undefined) throw new TypeError("decided before it started");
    const decision = this.#parts.decide({ connection: this.#parts.facts, request: undefined });
    if (decision.kind === "allow") {
      this.#permit = decision.permit;
      outcome.decision = "allow";
      outcome.policyVersion = decision.permit.policyVersion;
      outcome.rule = decision.permit.rule;
      outcome.reason = decision.reason;
      return true;
    }
    outcome.policyVersion = decision.policyVersion;
    outcome.rule = decision.rule;
    outcome.nearest = decision.nearest;
    this.cut(decision.code, decision.reason);
    return false;
  }

  /** A new policy is in force. */
  reauthorize(): void {
    if (this.#done || this.#permit === undefined) return;
    if (this.#permit.policyVersion !== this.#parts.runtime.inForce.policy.version) this.#decide();
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
    const outcome = this.#outcome;
    if (outcome !== undefined) {
      outcome.reason = code;
      outcome.detail = detail;
      outcome.close = "refused";
      if (code.startsWith("E_POLICY_")) outcome.decision = "deny";
      else if (outcome.decision === "allow") outcome.decision = "error";
      finishOutcome(this.#outcomeSinks, outcome, this.#slot);
    }
    this.#down?.abort();
  }
}
