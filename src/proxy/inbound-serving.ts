import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { policyReadsHttp } from "../authz/decide.ts";
import type { InboundConfig } from "../config/sidecar-config.ts";
import type { ConnectionFacts } from "../core/call-facts.ts";
import type { ConnectionContext } from "../core/call-outcome.ts";
import type { Decision } from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import type { Peer, Svid } from "../core/identity.ts";
import { askProviders } from "./ask-providers.ts";
import { decideInboundNow } from "./decide-call.ts";
import { connectionQuestion } from "./ext-authz/check-question.ts";
import { sniffFirstBytes } from "./first-bytes.ts";
import type { TunnelEntrance } from "./http2-server-connection.ts";
import { type InboundContext, InboundHttp } from "./inbound-http.ts";
import type { ProxiedSource } from "./proxy-protocol/read-proxy-header.ts";
import { writeProxyHeader } from "./proxy-protocol/write-proxy-header.ts";
import { recordRefusal } from "./refusals.ts";
import type { Runtime } from "./runtime.ts";
import { ServedProtocol } from "./served-protocol.ts";
import type { TcpRelayParts } from "./tcp-relay.ts";
import type { Transport } from "./transport.ts";
import { TUNNEL_ALPN } from "./tunnel-names.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** What connections to one inbound listener share. */
export interface InboundListenerParts {
  readonly config: InboundConfig;
  readonly pool: Upstream;
  readonly tunnels: TunnelGate;
}

/** A stream that stands for a connection. */
export interface TunnelTransport extends Transport {
  /** Told once that it is over. */
  onceClosed: (() => void) | undefined;
}

/** Finds the inbound that a tunnel names. */
export interface TunnelGate {
  /** Hands a tunnel to that inbound; false if no such inbound may be reached, or it is full. `name` "": the one that it came to. */
  open(name: string, caller: InboundCaller, transport: TunnelTransport): boolean;
}

/** Who calls, once that is known. */
export interface InboundCaller {
  /** The ends of the connection as a PROXY header names them. */
  readonly ends: { readonly source: ProxiedSource; readonly destination: ProxiedSource };
  readonly peer: Peer | undefined;
  /** The SVID that this side showed in the handshake; undefined for plaintext. */
  readonly svid: Svid | undefined;
  readonly context: ConnectionContext;
  readonly facts: ConnectionFacts;
  /** Monotonic. */
  readonly startedMs: number;
}

/** A connection whose caller is known, a socket's or a tunnel's: its protocol is told, then it is served. */
export class InboundServing {
  readonly #runtime: Runtime;
  readonly #parts: InboundListenerParts;
  readonly #caller: InboundCaller;
  readonly #inbound: InboundContext;
  readonly #served = new ServedProtocol();

  constructor(runtime: Runtime, parts: InboundListenerParts, caller: InboundCaller, closing: boolean) {
    const { config, pool } = parts;
    const { context, facts, peer, svid } = caller;
    this.#runtime = runtime;
    this.#parts = parts;
    this.#caller = caller;
    this.#inbound = {
      context,
      facts,
      peer,
      svid,
      xfcc: config.xfcc,
      upgrades: config.upgrades,
      jwtSvid: config.jwtSvid,
      pool,
      closing,
    };
  }

  /** `alpn`: the name that was agreed on, "" without one; `first`: bytes that were read already. */
  start(transport: Transport, alpn: string, first: Uint8Array | undefined): void {
    const { protocol } = this.#parts.config;
    if (alpn === TUNNEL_ALPN) this.#serveHttp2(transport, first, this.#entrance(), protocol !== "tcp");
    else if (protocol === "tcp") this.#serveTcp(transport, first);
    else if (alpn === HTTP2_ALPN) this.#serveHttp2(transport, first);
    else if (alpn === HTTP1_ALPN) this.#serveHttp1(transport, first);
    else this.#sniff(transport, first);
  }

  #sniff(transport: Transport, first: Uint8Array | undefined): void {
    const { protocol, appPort } = this.#parts.config;
    sniffFirstBytes(transport, first, this.#runtime, protocol !== "auto", ({ kind, bytes }) => {
      switch (kind) {
        case "http1":
          this.#serveHttp1(transport, bytes);
          return;
        case "http2":
          this.#serveHttp2(transport, bytes);
          return;
        case "opaque":
        case "silent":
          if (policyReadsHttp(this.#runtime.inForce.policy, appPort)) this.#refuseOpaque(transport, OPAQUE[kind]);
          else this.#serveTcp(transport, bytes, OPAQUE[kind]);
      }
    });
  }

  #refuseOpaque(transport: Transport, code: OpaqueCode): void {
    const error = new CountersignError(code, NOT_HTTP);
    recordRefusal(this.#runtime, this.#caller.context, error, this.#caller.startedMs);
    transport.destroy();
  }

  #serveHttp1(transport: Transport, first: Uint8Array | undefined): void {
    this.#served.serveHttp1(this.#runtime, transport, new InboundHttp(this.#runtime, this.#inbound), first);
  }

  /** `tunnels`: for a caller that has agreed on them. Never inside a tunnel: what its listener leads to is not what the called one lists. */
  #serveHttp2(transport: Transport, first: Uint8Array | undefined, tunnels?: TunnelEntrance, servesHttp = true): void {
    const service = new InboundHttp(this.#runtime, this.#inbound);
    this.#served.serveHttp2(this.#runtime, transport, service, first, tunnels, servesHttp);
  }

  /** Only a caller with an identity opens tunnels: what they lead to asks for one. */
  #entrance(): TunnelEntrance | undefined {
    if (this.#caller.peer === undefined) return undefined;
    const { tunnels } = this.#parts;
    return { open: (name, transport) => tunnels.open(name, this.#caller, transport) };
  }

  /** `sniffed`: how it is refused where policies read HTTP, which a later set may do; undefined: the listener speaks TCP. */
  #serveTcp(transport: Transport, early: Uint8Array | undefined, sniffed?: OpaqueCode): void {
    const { config, pool } = this.#parts;
    const { context, facts, startedMs, ends } = this.#caller;
    const relay: TcpRelayParts = {
      runtime: this.#runtime,
      context,
      facts,
      preface: config.sendProxyProtocol && writeProxyHeader(config.sendProxyProtocol, ends.source, ends.destination),
      decide: (call) => {
        const { policy } = this.#runtime.inForce;
        return sniffed !== undefined && policyReadsHttp(policy, config.appPort)
          ? denialOfOpaque(policy, sniffed)
          : decideInboundNow(policy, call);
      },
      ask: (decision, call, outcome, signal) => {
        const { policy, providers } = this.#runtime.inForce;
        return askProviders(decision, call, {
          providers,
          question: () => connectionQuestion(context, facts, undefined, outcome),
          // what is said of headers has no meaning here
          changed: (asked) => asked,
          decide: (asked) => decideInboundNow(policy, asked),
          body: undefined,
          signal,
        });
      },
      reach: (permit, done) => pool.connect(permit, "", done),
    };
    this.#served.serveTcp(relay, transport, early, startedMs);
  }

  get calls(): number {
    return this.#served.calls;
  }

  /** False if nothing is served yet. */
  drain(): boolean {
    this.#inbound.closing = true;
    return this.#served.drain();
  }

  cut(code: ErrorCode, detail: string): void {
    this.#served.cut(code, detail);
  }

  reauthorize(): void {
    this.#served.reauthorize();
  }

  onTick(nowWallMs: number): void {
    this.#served.onTick(nowWallMs);
  }
}

const HTTP1_ALPN = "http/1.1";
const HTTP2_ALPN = "h2";

/** The caller must not choose which rules see it (authorization section 7). */
const OPAQUE = { opaque: "E_CLASSIFY", silent: "E_CLASSIFY_TIMEOUT" } as const;
type OpaqueCode = (typeof OPAQUE)[keyof typeof OPAQUE];
const NOT_HTTP = "policies with HTTP fields apply, and the caller does not speak HTTP";

function denialOfOpaque({ version }: CompiledPolicy, code: OpaqueCode): Decision {
  return { kind: "deny", code, rule: undefined, reason: NOT_HTTP, nearest: undefined, policyVersion: version };
}
