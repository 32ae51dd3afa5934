import type { AuditSlot } from "../../core/audit-log.ts";
import type { CallFacts } from "../../core/call-facts.ts";
import type { CallOutcome } from "../../core/call-outcome.ts";
import { destinationText } from "../../core/egress-target.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import { finishOutcome, newOutcome } from "../call-outcomes.ts";
import { monotonicMs } from "../monotonic.ts";
import type { Refusal } from "../refusal.ts";
import { sinksOf } from "../refusals.ts";
import { TcpCall } from "../tcp-call.ts";
import { tunnelFacts } from "./destination-facts.ts";
import { HeldCaller } from "./held-caller.ts";
import { TunnelAdmission } from "./tunnel-admission.ts";
import { TunnelAuthority } from "./tunnel-authority.ts";
import { type Opening, readOpening } from "./tunnel-opening.ts";
import type { TunnelParts } from "./tunnel-parts.ts";
import { TunnelRoute } from "./tunnel-route.ts";
import { TLS_ALERT, tlsAlert } from "./wire/client-hello.ts";

const PROGRESS_MS = 5 * 60_000;

/** A tunnel that a caller of the egress proxy asks for (CONNECT, SOCKS5). It is decided as the request CONNECT host:port, its name is
 *  resolved and each address held against rules and policy; outside the mesh it is dialled before the caller hears of success, so
 *  that a failure has its reason. Then its first bytes are looked at: TLS must name the server that was asked for and is relayed
 *  unread, HTTP is served request by request, anything else goes to the mesh only. Nothing of the caller is sent before. Wherever a
 *  decision names providers, they are asked before the next step. */
export class ForwardTunnel {
  readonly #parts: TunnelParts;
  readonly #sinks: ReturnType<typeof sinksOf>;
  readonly #outcome: CallOutcome;
  readonly #authority: TunnelAuthority;
  readonly #admission: TunnelAdmission;
  readonly #route: TunnelRoute;
  readonly #caller: HeldCaller;
  #facts: CallFacts;
  #slot: AuditSlot | undefined;
  #opening: Opening | undefined;
  #answered = false;
  #call: TcpCall | undefined;
  #lastRecordMs = 0;
  #done = false;

  constructor(parts: TunnelParts, startedMs: number) {
    this.#parts = parts;
    const { runtime, destination, transport } = parts;
    this.#sinks = sinksOf(runtime);
    this.#outcome = newOutcome(parts.context, "connection", "tcp", startedMs);
    this.#outcome.method = parts.method;
    this.#outcome.authority = destinationText(destination);
    this.#facts = this.#factsAt(destination.isAddress ? destination.host : "", "");
    this.#authority = new TunnelAuthority(parts);
    this.#admission = new TunnelAdmission(runtime, this.#authority, this.#outcome, (error, own) =>
      this.#denied(error, own),
    );
    this.#route = new TunnelRoute({
      parts,
      outcome: this.#outcome,
      authority: this.#authority,
      admission: this.#admission,
      factsAt: (address) => this.#factsAt(address, ""),
      onReached: (address) => this.#open(address),
      onRefused: (error) => this.#refuse(error),
    });
    this.#caller = new HeldCaller(transport, () => this.#callerGone());
  }

  get done(): boolean {
    return this.#done;
  }

  #factsAt(address: string, sni: string): CallFacts {
    return tunnelFacts(this.#parts.facts, this.#parts.destination, this.#parts.fields, address, sni);
  }

  /** `early`: bytes that came behind the caller's request, in a buffer of their own. */
  start(early: Uint8Array | undefined): void {
    const { runtime, listener, destination } = this.#parts;
    this.#caller.hold(early);
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
    this.#admission.decide(this.#facts, () => this.#find());
  }

  #find(): void {
    this.#slot = this.#parts.runtime.audit.reserve();
    if (this.#slot === undefined) {
      this.#refuse(new CountersignError("E_AUDIT_UNAVAILABLE", "no audit record could be reserved"));
      return;
    }
    this.#route.find();
  }

  /** `address`: where it was dialled; undefined: in the mesh, where whoever takes its bytes dials. */
  #open(address: string | undefined): void {
    const { runtime, transport, destination, answer } = this.#parts;
    if (address !== undefined) this.#facts = this.#factsAt(address, "");
    this.#answered = true;
    answer.accept(this.#outcome.id);
    const { classify, handshake } = runtime.timeouts;
    this.#opening = readOpening(
      transport,
      this.#caller.take(),
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
            this.#caller.hold(bytes);
            this.#admission.proceed(this.#facts, () => this.#handOver((read) => this.#parts.onHttp(kind, read)));
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
    this.#caller.hold(first);
    this.#handOver((read) => this.#parts.onMeshBytes(this.#route.addresses, this.#authority, read));
  }

  /** Somebody else makes calls of what the tunnel carries, with records of their own. `next` gets what has been read of it. */
  #handOver(next: (read: Uint8Array) => void): void {
    // they may need the place that its connection has
    this.#route.giveUp(() => {
      if (this.#done) return;
      if (this.#parts.transport.closed) {
        this.#callerGone();
        return;
      }
      this.#done = true;
      if (this.#slot !== undefined) this.#parts.runtime.audit.release(this.#slot);
      next(this.#caller.take());
    });
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
    this.#caller.hold(bytes);
    this.#admission.decide(this.#facts, () => this.#relay(this.#caller.take()));
  }

  #relay(bytes: Uint8Array): void {
    const { runtime, transport } = this.#parts;
    const up = this.#route.take();
    const slot = this.#slot;
    if (slot === undefined) throw new TypeError("relayed without a place for its record");
    if (up instanceof CountersignError) {
      this.#refuse(up);
      return;
    }
    this.#outcome.protocol = "tls";
    this.#lastRecordMs = monotonicMs();
    const onEnded = (): void => {
      this.#done = true;
      this.#admission.stop();
      if (this.#call !== undefined) runtime.deadlines.delete(this.#call);
    };
    const options = { sinks: this.#sinks, outcome: this.#outcome, slot, idleMs: runtime.timeouts.tunnelIdle, onEnded };
    const call = new TcpCall(options, transport, up, bytes);
    this.#call = call;
    if (this.#done) return;
    runtime.deadlines.add(call);
  }

  /** A new policy is in force, or time went on and the policy depends on it. */
  reauthorize(): void {
    if (!this.#done) this.#admission.reauthorize(this.#facts, this.#call !== undefined);
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
    this.#admission.stop();
    if (this.#call === undefined) this.#refuse(new CountersignError(code, detail));
    else this.#call.cut(code, detail);
  }

  /** By policy, or by a provider that it had asked, whose own answer the caller gets where it can. */
  #denied(error: CountersignError, own: Refusal | undefined): void {
    if (this.#done) return;
    this.#outcome.decision = "deny";
    if (this.#call === undefined) this.#refuse(error, TLS_ALERT.accessDenied, own);
    else this.#call.cut(error.code, error.message);
  }

  #callerGone(): void {
    if (this.#done) return;
    this.#outcome.close = "caller-closed";
    this.#end(new CountersignError("E_CALLER_GONE", "the caller left before it had said anything in its tunnel"));
    this.#parts.transport.destroy();
  }

  #refuse(
    error: CountersignError,
    alert: Parameters<typeof tlsAlert>[0] = TLS_ALERT.accessDenied,
    own?: Refusal,
  ): void {
    if (this.#done) return;
    this.#outcome.close = "refused";
    this.#end(error);
    const { transport, answer } = this.#parts;
    if (!this.#answered) answer.refuse(error, this.#outcome.id, own);
    else if (this.#opening?.isTls === true) {
      transport.writeBytes(tlsAlert(alert));
      this.#opening.endGently();
    } else transport.abort();
  }

  #end(error: CountersignError): void {
    this.#done = true;
    this.#admission.stop();
    this.#opening?.stop();
    this.#route.close();
    const outcome = this.#outcome;
    outcome.reason = error.code;
    outcome.detail = error.message;
    outcome.decision = DENIES.test(error.code) ? "deny" : "error";
    finishOutcome(this.#sinks, outcome, this.#slot);
  }
}

/** Codes of what was not wanted, apart from those of what failed. */
const DENIES = /^E_(?:POLICY|EXT_AUTHZ|EGRESS(?!_RESOLVE$))_/;

const SAYS = {
  opaque: "the tunnel's first bytes are neither TLS nor HTTP",
  silent: "the caller said nothing in its tunnel, or too little to tell what it is",
} as const;
