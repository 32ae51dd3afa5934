import type { AuditSlot } from "../../core/audit-log.ts";
import type { CallFacts } from "../../core/call-facts.ts";
import type { CallOutcome } from "../../core/call-outcome.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import { finishOutcome, newOutcome } from "../call-outcomes.ts";
import { monotonicMs } from "../monotonic.ts";
import type { Refusal } from "../refusal.ts";
import { sinksOf } from "../refusals.ts";
import { TcpCall } from "../tcp-call.ts";
import { NOBODY, type Transport } from "../transport.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { reasonOf } from "../upstream/dial.ts";
import { askAboutAddresses } from "./ask-about-addresses.ts";
import { destinationText } from "./destination.ts";
import { tunnelFacts } from "./destination-facts.ts";
import { HeldCaller } from "./held-caller.ts";
import { TunnelAdmission } from "./tunnel-admission.ts";
import { TunnelAuthority } from "./tunnel-authority.ts";
import { type Opening, readOpening } from "./tunnel-opening.ts";
import type { TunnelParts } from "./tunnel-parts.ts";
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
  readonly #caller: HeldCaller;
  #facts: CallFacts;
  #slot: AuditSlot | undefined;
  #addresses: CheckedAddresses | undefined;
  /** Outside the mesh: connected, and silent until the first bytes are judged. */
  #up: Transport | undefined;
  #upError: Error | undefined;
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
    const { runtime, listener, destination } = this.#parts;
    this.#slot = runtime.audit.reserve();
    if (this.#slot === undefined) {
      this.#refuse(new CountersignError("E_AUDIT_UNAVAILABLE", "no audit record could be reserved"));
      return;
    }
    listener.pools.find(destination, (found) => {
      if (this.#done) return;
      if (found instanceof CountersignError) this.#refuse(found);
      else this.#found(listener.pools.loads.inOrder(destination, found));
    });
  }

  /** Policy may look at the address: what it denies is not dialled. Where each would have a provider asked, one that is allowed is. */
  #found(found: CheckedAddresses): void {
    const verdicts = found.map((host) => {
      const call = this.#factsAt(host, "");
      return { host, call, decision: this.#authority.decide(call) };
    });
    const [first, ...others] = verdicts.flatMap(({ host, decision }) => (decision.kind === "allow" ? [host] : []));
    if (first !== undefined) {
      this.#reach([first, ...others]);
      return;
    }
    const [one, ...more] = verdicts.flatMap(({ decision, ...at }) =>
      decision.kind === "ask" ? [{ ...at, decision }] : [],
    );
    if (one === undefined) {
      this.#admission.decide(this.#factsAt(found[0], ""), () => this.#reach([found[0]]));
      return;
    }
    this.#admission.wait(
      (signal) =>
        askAboutAddresses([one, ...more], ({ decision, call }) =>
          this.#authority.ask(decision, call, this.#outcome, signal),
        ),
      ({ host, asked }) => this.#admission.settle(asked, () => this.#reach([host])),
      () => this.#found(found),
    );
  }

  #reach(addresses: CheckedAddresses): void {
    this.#addresses = addresses;
    if (this.#parts.destination.mesh === undefined) this.#dial(addresses);
    else this.#admission.proceed(this.#factsAt(addresses[0], ""), () => this.#open());
  }

  #dial(addresses: CheckedAddresses): void {
    const { listener, destination } = this.#parts;
    const { permit } = this.#admission;
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
      this.#admission.proceed(this.#facts, () => this.#open());
      return true;
    });
  }

  #open(): void {
    const { runtime, transport, destination, answer } = this.#parts;
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
            this.#admission.proceed(this.#facts, () => {
              const all = this.#caller.take();
              this.#handOver(() => this.#parts.onHttp(kind, all));
            });
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
    this.#handOver(() => this.#parts.onMeshBytes(addresses, this.#authority, first));
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
    this.#caller.hold(bytes);
    this.#admission.decide(this.#facts, () => this.#relay(this.#caller.take()));
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
    this.#up?.destroy();
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
