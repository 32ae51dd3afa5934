import type { AuditSlot } from "../../core/audit-log.ts";
import type { CallFacts } from "../../core/call-facts.ts";
import type { CallOutcome } from "../../core/call-outcome.ts";
import type { Permit } from "../../core/decision.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import { finishOutcome, newOutcome, noteDecision } from "../call-outcomes.ts";
import { monotonicMs } from "../monotonic.ts";
import { sinksOf } from "../refusals.ts";
import { TcpCall } from "../tcp-call.ts";
import { NOBODY, type Transport } from "../transport.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { reasonOf } from "../upstream/dial.ts";
import { decideForward } from "./decide-forward.ts";
import { destinationText } from "./destination.ts";
import { tunnelFacts } from "./destination-facts.ts";
import { type Opening, readOpening } from "./tunnel-opening.ts";
import type { TunnelParts } from "./tunnel-parts.ts";
import { TLS_ALERT, tlsAlert } from "./wire/client-hello.ts";

const PROGRESS_MS = 5 * 60_000;

/** A tunnel that a caller of the egress proxy asks for (CONNECT, SOCKS5). It is decided as the request CONNECT host:port, its name is
 *  resolved and each address held against rules and policy; outside the mesh it is dialled before the caller hears of success, so
 *  that a failure has its reason. Then its first bytes are looked at: TLS must name the server that was asked for and is relayed
 *  unread, HTTP is served request by request, anything else goes to the mesh only. Nothing of the caller is sent before. */
export class ForwardTunnel {
  readonly #parts: TunnelParts;
  readonly #sinks: ReturnType<typeof sinksOf>;
  readonly #outcome: CallOutcome;
  #facts: CallFacts;
  #permit: Permit | undefined;
  #slot: AuditSlot | undefined;
  #addresses: CheckedAddresses | undefined;
  /** Outside the mesh: connected, and silent until the first bytes are judged. */
  #up: Transport | undefined;
  #upError: Error | undefined;
  #opening: Opening | undefined;
  #early: Uint8Array | undefined;
  #answered = false;
  #call: TcpCall | undefined;
  #lastRecordMs = 0;
  #done = false;

  constructor(parts: TunnelParts, startedMs: number) {
    this.#parts = parts;
    this.#sinks = sinksOf(parts.runtime);
    const { destination } = parts;
    this.#outcome = newOutcome(parts.context, "connection", "tcp", startedMs);
    this.#outcome.method = parts.method;
    this.#outcome.authority = destinationText(destination);
    this.#facts = this.#factsAt(destination.isAddress ? destination.host : "", "");
  }

  get done(): boolean {
    return this.#done;
  }

  #factsAt(address: string, sni: string): CallFacts {
    return tunnelFacts(this.#parts.facts, this.#parts.destination, this.#parts.headers, address, sni);
  }

  /** `early`: bytes that came behind the caller's request, in a buffer of their own. */
  start(early: Uint8Array | undefined): void {
    const { runtime, listener, destination, transport } = this.#parts;
    this.#early = early;
    transport.pause();
    const ignore = (): void => undefined;
    transport.owner = { onBytes: ignore, onFin: ignore, onWritable: ignore, onGone: () => this.#callerGone() };
    if (runtime.overload !== undefined) {
      this.#refuse(runtime.overload);
      return;
    }
    const { ports } = listener.config.forward;
    if (destination.mesh === undefined && !ports.includes(destination.port)) {
      const listed = ports.length === 0 ? "no port is" : `only ${ports.join(", ")}`;
      this.#refuse(
        new CountersignError("E_EGRESS_PORT", `port ${destination.port} is not in forward.ports (${listed})`),
      );
      return;
    }
    if (!this.#decide()) return;
    this.#slot = runtime.audit.reserve();
    if (this.#slot === undefined) {
      this.#refuse(new CountersignError("E_AUDIT_UNAVAILABLE", "no audit record could be reserved"));
      return;
    }
    listener.pools.find(destination, (found) => {
      if (this.#done) return;
      if (found instanceof CountersignError) this.#refuse(found);
      else this.#found(found);
    });
  }

  /** Policy may look at the address: what it denies is not dialled. */
  #found(found: CheckedAddresses): void {
    const { runtime, destination } = this.#parts;
    const version = runtime.inForce.policy;
    const ordered = this.#parts.listener.pools.loads.inOrder(destination, found);
    const verdicts = ordered.map((address) => ({
      address,
      verdict: decideForward(version, this.#factsAt(address, "")),
    }));
    const [first, ...others] = verdicts.flatMap(({ address, verdict }) => (verdict.kind === "allow" ? [address] : []));
    if (first === undefined) {
      this.#facts = this.#factsAt(found[0], "");
      this.#decide();
      return;
    }
    this.#addresses = [first, ...others];
    if (destination.mesh === undefined) this.#dial(this.#addresses);
    else this.#open();
  }

  #dial(addresses: CheckedAddresses): void {
    const { runtime, listener, destination } = this.#parts;
    const permit = this.#permit;
    if (permit === undefined) throw new TypeError("dialled before it was allowed");
    listener.pools.connect(destination, addresses, permit, (result, { host, load }) => {
      if (this.#done) return false;
      this.#outcome.destinationAddress = load.address;
      if (result instanceof CountersignError) {
        this.#refuse(result);
        return true;
      }
      const up = result.transport;
      // held back, but for its end: nothing is relayed before the caller's first bytes are judged
      up.pause();
      const onGone = (error: Error | undefined): void => {
        this.#upError = error;
      };
      up.owner = { ...NOBODY, onGone };
      this.#up = up;
      this.#outcome.upstreamMs = monotonicMs() - this.#outcome.durationMs;
      this.#facts = this.#factsAt(host, "");
      if (this.#permit?.policyVersion !== runtime.inForce.policy.version && !this.#decide()) return true;
      this.#open();
      return true;
    });
  }

  #open(): void {
    const { runtime, transport, destination, answer } = this.#parts;
    this.#answered = true;
    answer.accept(this.#outcome.id);
    const { classify, handshake } = runtime.timeouts;
    const early = this.#early;
    this.#early = undefined;
    this.#opening = readOpening(
      transport,
      early,
      runtime.deadlines,
      destination.mesh === undefined ? handshake : classify,
      // to the mesh TLS goes as it is: the outer connection has proven the server
      destination.mesh === undefined,
      (opened) => {
        if (this.#done) return;
        switch (opened.kind) {
          case "gone":
            this.#callerGone();
            return;
          case "http1":
          case "http2": {
            const { kind, bytes } = opened;
            this.#handOver(() => this.#parts.onHttp(kind, bytes));
            return;
          }
          case "tls":
            if (destination.mesh === undefined) this.#judgeServerName(opened.name, opened.bytes);
            else this.#toMesh(opened.bytes);
            return;
          case "bad-tls":
            this.#refuse(new CountersignError("E_EGRESS_SNI", opened.reason));
            return;
          case "opaque":
          case "silent":
            if (destination.mesh !== undefined) this.#toMesh(opened.bytes);
            else this.#refuse(new CountersignError("E_EGRESS_PROTOCOL", SAYS[opened.kind]));
            return;
        }
      },
    );
  }

  #toMesh(first: Uint8Array): void {
    const addresses = this.#addresses;
    if (addresses === undefined) throw new TypeError("a tunnel that is open has addresses");
    this.#handOver(() => this.#parts.onMeshBytes(addresses, this.#facts, first));
  }

  /** Somebody else makes calls of what the tunnel carries, with records of their own. */
  #handOver(next: () => void): void {
    const goOn = (): void => {
      if (this.#done) return;
      if (this.#parts.transport.closed) {
        this.#callerGone();
        return;
      }
      this.#done = true;
      if (this.#slot !== undefined) this.#parts.runtime.audit.release(this.#slot);
      next();
    };
    const up = this.#up;
    if (up === undefined || up.closed) {
      goOn();
      return;
    }
    // first its connection must not count as open any more: the calls may need its place
    up.owner = { ...NOBODY, onGone: goOn };
    up.destroy();
  }

  #judgeServerName(name: string | undefined, bytes: Uint8Array): void {
    const { destination } = this.#parts;
    const server = name?.toLowerCase() ?? "";
    if (!destination.isAddress && server !== destination.host) {
      const named = name === undefined ? "no server" : name;
      const detail = `the tunnel was asked for ${destination.host}, and its ClientHello names ${named}`;
      this.#refuse(new CountersignError("E_EGRESS_SNI", detail), TLS_ALERT.unrecognizedName);
      return;
    }
    const address = this.#facts.connection.destinationIp;
    this.#facts = this.#factsAt(address, server);
    if (this.#decide()) this.#relay(bytes);
  }

  #relay(bytes: Uint8Array): void {
    const { runtime, transport } = this.#parts;
    const up = this.#up;
    const slot = this.#slot;
    if (up === undefined || slot === undefined) throw new TypeError("relayed before it was dialled");
    if (up.closed) {
      const why = this.#upError === undefined ? "closed the connection" : reasonOf(this.#upError);
      this.#refuse(new CountersignError("E_UPSTREAM_CLOSED", `${this.#outcome.destinationAddress ?? ""}: ${why}`));
      return;
    }
    this.#outcome.protocol = "tls";
    this.#lastRecordMs = monotonicMs();
    const onEnded = (): void => {
      this.#done = true;
      if (this.#call !== undefined) runtime.deadlines.delete(this.#call);
    };
    const options = { sinks: this.#sinks, outcome: this.#outcome, slot, idleMs: runtime.timeouts.tunnelIdle, onEnded };
    const call = new TcpCall(options, transport, up, bytes);
    this.#call = call;
    if (this.#done) return;
    runtime.deadlines.add(call);
  }

  #decide(): boolean {
    const outcome = this.#outcome;
    const decision = decideForward(this.#parts.runtime.inForce.policy, this.#facts);
    noteDecision(outcome, decision);
    if (decision.kind === "allow") {
      this.#permit = decision.permit;
      return true;
    }
    this.cut(decision.code, decision.reason);
    return false;
  }

  /** A new policy is in force, or time went on and the policy depends on it. */
  reauthorize(): void {
    if (this.#done || this.#permit === undefined) return;
    const { version, dependsOnTime } = this.#parts.runtime.inForce.policy;
    if (dependsOnTime || this.#permit.policyVersion !== version) this.#decide();
  }

  onTick(): void {
    const nowMs = monotonicMs();
    if (this.#call === undefined || this.#done || nowMs - this.#lastRecordMs < PROGRESS_MS) return;
    this.#lastRecordMs = nowMs;
    this.#call.progress();
  }

  /** Ends it now, with this code in its record. */
  cut(code: ErrorCode, detail: string): void {
    if (this.#done) return;
    if (this.#call === undefined) this.#refuse(new CountersignError(code, detail));
    else this.#call.cut(code, detail);
  }

  #callerGone(): void {
    if (this.#done) return;
    this.#outcome.close = "caller-closed";
    this.#end(new CountersignError("E_CALLER_GONE", "the caller left before it had said anything in its tunnel"));
    this.#parts.transport.destroy();
  }

  #refuse(error: CountersignError, alert: Parameters<typeof tlsAlert>[0] = TLS_ALERT.accessDenied): void {
    if (this.#done) return;
    this.#outcome.close = "refused";
    this.#end(error);
    const { transport, answer } = this.#parts;
    if (!this.#answered) answer.refuse(error, this.#outcome.id);
    else if (this.#opening?.isTls === true) {
      transport.writeBytes(tlsAlert(alert));
      this.#opening.endGently();
    } else transport.abort();
  }

  #end(error: CountersignError): void {
    this.#done = true;
    this.#opening?.stop();
    this.#up?.destroy();
    const outcome = this.#outcome;
    outcome.reason = error.code;
    outcome.detail = error.message;
    outcome.decision = error.code.startsWith("E_POLICY_") || error.code.startsWith("E_EGRESS_") ? "deny" : "error";
    if (error.code === "E_EGRESS_RESOLVE") outcome.decision = "error";
    finishOutcome(this.#sinks, outcome, this.#slot);
  }
}

const SAYS = {
  opaque: "the tunnel's first bytes are neither TLS nor HTTP",
  silent: "the caller said nothing in its tunnel, or too little to tell what it is",
} as const;
