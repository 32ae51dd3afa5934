import type { Socket } from "node:net";
import type { Address, OutboundConfig } from "../config/sidecar-config.ts";
import type { ConnectionFacts } from "../core/call-facts.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import type { CountersignError } from "../core/errors.ts";
import type { IdentitySnapshot } from "../core/identity.ts";
import { canonicalIpAddress } from "../core/ip-address.ts";
import { askProviders } from "./ask-providers.ts";
import { type ConnectionEnd, connectionEnd } from "./connection-life.ts";
import { decideConfiguredNow, principalsOf } from "./decide-call.ts";
import { askableProviders } from "./ext-authz/askable-providers.ts";
import { outboundQuestion } from "./ext-authz/check-question.ts";
import { sniffFirstBytes } from "./first-bytes.ts";
import { attestCaller } from "./local-caller.ts";
import { LocalContext } from "./local-context.ts";
import type { OpenConnection } from "./open-connection.ts";
import { type OutboundContext, OutboundHttp } from "./outbound-http.ts";
import { recordRefusal } from "./refusals.ts";
import type { Runtime } from "./runtime.ts";
import { ServedProtocol } from "./served-protocol.ts";
import type { TcpRelayParts } from "./tcp-relay.ts";
import { NOBODY, SocketTransport, type Transport } from "./transport.ts";
import { addressText } from "./upstream/dial.ts";
import type { Upstream } from "./upstream/upstream.ts";

export interface OutboundListenerParts {
  readonly config: OutboundConfig;
  readonly endpoints: readonly [Address, ...Address[]];
  readonly pool: Upstream;
}

const IGNORED = (): void => undefined;

/** A connection of our own app, in plaintext over loopback or a Unix socket. */
export class OutboundConnection implements OpenConnection {
  readonly #runtime: Runtime;
  readonly #parts: OutboundListenerParts;
  readonly #raw: Socket;
  readonly #onClosed: () => void;
  readonly #startedMs = performance.now();
  readonly #end: ConnectionEnd;
  readonly #context: LocalContext;
  #outbound: OutboundContext | undefined;
  readonly #served = new ServedProtocol();
  #draining = false;
  #closed = false;

  constructor(runtime: Runtime, parts: OutboundListenerParts, raw: Socket, onClosed: () => void) {
    this.#runtime = runtime;
    this.#parts = parts;
    this.#raw = raw;
    this.#onClosed = onClosed;
    this.#context = new LocalContext(runtime, parts.config, raw, addressText(parts.endpoints[0]));
    this.#end = connectionEnd(Number.POSITIVE_INFINITY, runtime.timeouts.connectionAge);
  }

  start(): void {
    const { config } = this.#parts;
    const raw = this.#raw;
    raw.on("error", IGNORED);
    raw.once("close", () => {
      this.#closed = true;
      this.#onClosed();
    });
    const { caller, refused } = attestCaller(raw, config.listen.kind === "unix", config.allowUids);
    this.#context.attested(caller);
    if (refused !== undefined) {
      this.#refuse(refused);
      return;
    }
    const transport = new SocketTransport(raw, NOBODY);
    switch (config.protocol) {
      case "tcp":
        this.#serveTcp(transport, undefined);
        return;
      case "http1":
        this.#serveHttp1(transport, undefined);
        return;
      case "http2":
        this.#serveHttp2(transport, undefined);
        return;
      case "auto":
      case "http":
        this.#sniff(transport, config.protocol === "http");
    }
  }

  #sniff(transport: SocketTransport, onlyHttp: boolean): void {
    sniffFirstBytes(transport, undefined, this.#runtime, onlyHttp, ({ kind, bytes }) => {
      switch (kind) {
        case "http1":
          this.#serveHttp1(transport, bytes);
          return;
        case "http2":
          this.#serveHttp2(transport, bytes);
          return;
        // an app that speaks TLS itself passes as it is, inside ours
        case "opaque":
        case "silent":
          this.#serveTcp(transport, bytes);
      }
    });
  }

  #serveHttp1(transport: Transport, first: Uint8Array | undefined): void {
    this.#served.serveHttp1(this.#runtime, transport, this.#service(), first);
  }

  #serveHttp2(transport: SocketTransport, first: Uint8Array | undefined): void {
    this.#served.serveHttp2(this.#runtime, transport, this.#service(), first);
  }

  #service(): OutboundHttp {
    const { config, pool } = this.#parts;
    const { jwtSvid } = config;
    this.#outbound = {
      currentContext: () => this.#context.current,
      facts: this.#facts(),
      listenPort: this.#raw.localPort,
      principals: principalsOf(config.identity),
      authority: config.authority,
      origins: config.origins,
      refuseBrowsers: config.browser === "refuse" && config.listen.kind === "tcp",
      jwtSvid: jwtSvid && {
        header: jwtSvid.header,
        token: () => this.#runtime.jwtSvids.current(jwtSvid.audience, config.svidHint),
      },
      pool,
      closing: this.#draining,
    };
    return new OutboundHttp(this.#runtime, this.#outbound);
  }

  #serveTcp(transport: Transport, early: Uint8Array | undefined): void {
    const { config, pool } = this.#parts;
    const principals = principalsOf(config.identity);
    const relay: TcpRelayParts = {
      runtime: this.#runtime,
      context: this.#context.current,
      facts: this.#facts(),
      decide: (facts) => decideConfiguredNow(this.#runtime.inForce.policy, facts, principals),
      ask: (decision, call, outcome, signal) => {
        const { policy, providers } = this.#runtime.inForce;
        return askProviders(decision, call, {
          providers: askableProviders(this.#raw.localPort, providers),
          question: () => outboundQuestion(this.#context.current, call.connection, principals, outcome),
          // what is said of headers has no meaning here
          changed: (asked) => asked,
          decide: (asked) => decideConfiguredNow(policy, asked, principals),
          body: undefined,
          signal,
        });
      },
      reach: (permit, done) => pool.connect(permit, config.tunnel, done),
    };
    this.#served.serveTcp(relay, transport, early, this.#startedMs);
  }

  #facts(): ConnectionFacts {
    const sourceIp = canonicalIpAddress(this.#raw.remoteAddress ?? "") ?? "";
    const [endpoint] = this.#parts.endpoints;
    return {
      peer: undefined,
      sourceIp,
      remoteIp: sourceIp,
      destinationIp: "",
      destinationPort: endpoint.kind === "tcp" ? endpoint.port : 0,
      sni: "",
    };
  }

  #refuse(error: CountersignError): void {
    if (this.#closed) return;
    recordRefusal(this.#runtime, this.#context.current, error, this.#startedMs);
    this.#raw.destroy();
  }

  get calls(): number {
    return this.#served.calls;
  }

  drain(): void {
    this.#draining = true;
    if (this.#outbound !== undefined) this.#outbound.closing = true;
    if (!this.#served.drain()) this.#raw.destroy();
  }

  cut(code: ErrorCode, detail: string): void {
    this.#served.cut(code, detail);
    this.#raw.destroy();
  }

  onIdentity(_snapshot: IdentitySnapshot): void {
    this.#served.tcp?.reverify(Date.now());
  }

  onIdentityLost(_problem: CountersignError): void {
    // the app's own connection stays: its next call is answered with the reason
    this.#served.tcp?.reverify(Date.now());
  }

  onPolicy(): void {
    this.#served.reauthorize();
  }

  onTick(nowWallMs: number): void {
    this.#served.onTick(nowWallMs);
    if (nowWallMs >= this.#end.drainMs && !this.#draining) this.drain();
  }
}
