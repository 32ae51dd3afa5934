import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { type EffectiveMtls, effectiveMtls } from "../authz/authentication.ts";
import type { ConnectionFacts } from "../core/call-facts.ts";
import type { ConnectionContext } from "../core/call-outcome.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentitySnapshot, Peer, Svid } from "../core/identity.ts";
import { canonicalIpAddress } from "../core/ip-address.ts";
import { nextDecisionId } from "./call-identifiers.ts";
import { classifyFirstBytes } from "./classify.ts";
import { type ConnectionEnd, connectionEnd } from "./connection-life.ts";
import { deadlineAfter, type HasDeadline } from "./deadlines.ts";
import { isTrustedProxy } from "./http-facts.ts";
import { writeResponseHead } from "./http1/write-head.ts";
import { type SecuredCaller, takeHandshake } from "./inbound-handshake.ts";
import { type InboundListenerParts, InboundServing } from "./inbound-serving.ts";
import { localAnswer } from "./local-answer.ts";
import type { OpenConnection } from "./open-connection.ts";
import { receiveProxyHeader } from "./proxied-connection.ts";
import type { ProxiedSource } from "./proxy-protocol/read-proxy-header.ts";
import { recordRefusal } from "./refusals.ts";
import { currentSvid, type Runtime } from "./runtime.ts";
import { sourceAddressOf } from "./source-address.ts";
import { NOBODY, SocketTransport } from "./transport.ts";
import { addressText } from "./upstream/dial.ts";

const IGNORED = (): void => undefined;

/** A connection from the mesh: told TLS from plaintext, verified, its protocol told, then served. */
export class InboundConnection implements OpenConnection {
  readonly #runtime: Runtime;
  readonly #parts: InboundListenerParts;
  readonly #raw: Socket;
  readonly #startedMs = performance.now();
  readonly #sourceIp: string;
  /** The client, where a trusted proxy says who it is. */
  #client: ProxiedSource | undefined;
  readonly #onClosed: () => void;
  #context: ConnectionContext;
  /** Once the caller is known. */
  #serving: InboundServing | undefined;
  #end: ConnectionEnd | undefined;
  #verifyAgain: SecuredCaller["verifyAgain"] | undefined;
  /** Set while the connection has no protocol yet. */
  #guard: (HasDeadline & { deadlineMs: number }) | undefined;
  #draining = false;
  #closed = false;
  /** What to end: the TLS socket once there is one. */
  #socket: Socket;

  constructor(runtime: Runtime, parts: InboundListenerParts, raw: Socket, onClosed: () => void) {
    this.#runtime = runtime;
    this.#parts = parts;
    this.#raw = raw;
    this.#socket = raw;
    this.#onClosed = onClosed;
    this.#sourceIp = canonicalIpAddress(raw.remoteAddress ?? "") ?? "";
    this.#context = this.#makeContext(undefined, undefined, undefined);
  }

  /** Begins; the connection is registered already. */
  start(): void {
    const raw = this.#raw;
    raw.on("error", IGNORED);
    raw.once("close", () => this.#gone());
    if (this.#parts.config.proxyProtocol) this.#awaitProxyHeader();
    else this.#begin(undefined);
  }

  #awaitProxyHeader(): void {
    const { deadlines, timeouts, inForce } = this.#runtime;
    const trusted = isTrustedProxy(this.#sourceIp, inForce);
    receiveProxyHeader(this.#raw, trusted, deadlines, timeouts.classify, (start) => {
      if (this.#closed) return;
      if (start instanceof CountersignError) {
        this.#refuse(start);
        return;
      }
      this.#client = start.source;
      this.#begin(start.rest);
    });
  }

  /** `first`: bytes of the connection that were read already. */
  #begin(first: Buffer | undefined): void {
    const raw = this.#raw;
    if (this.#mtls === "disable") {
      this.#plaintext(new SocketTransport(raw, NOBODY), first);
      return;
    }
    const { handshake } = this.#runtime.timeouts;
    this.#watch(handshake, () =>
      this.#refuse(new CountersignError("E_HANDSHAKE_TIMEOUT", "no complete TLS handshake in time")),
    );
    if (first !== undefined) {
      this.#firstChunk(first);
      return;
    }
    // One read, then TLS gets the bytes back: the socket must not have a data listener of ours when TLS takes it over.
    const onReadable = (): void => {
      const first: Buffer | null = raw.read();
      if (first === null) return;
      raw.removeListener("readable", onReadable);
      raw.removeListener("end", onEnd);
      this.#firstChunk(first);
    };
    const onEnd = (): void => {
      raw.destroy();
    };
    raw.on("readable", onReadable);
    raw.once("end", onEnd);
  }

  /** What is taken now: the configuration says it, and PeerAuthentication documents may change it at any time. */
  get #mtls(): EffectiveMtls {
    return effectiveMtls(this.#runtime.inForce.policy, this.#parts.config);
  }

  #firstChunk(first: Buffer): void {
    if (first[0] === 0x16) {
      this.#raw.unshift(first);
      this.#handshake();
      return;
    }
    if (this.#mtls !== "strict") {
      this.#unwatch();
      this.#plaintext(new SocketTransport(this.#raw, NOBODY), first);
      return;
    }
    this.#refusePlaintext(first);
  }

  /** A caller that speaks HTTP in the clear is told why, by code; whatever else gets a closed connection. */
  #refusePlaintext(first: Buffer): void {
    const error = new CountersignError(
      "E_PLAINTEXT_REFUSED",
      "the caller sent plaintext, and this listener takes only mutual TLS",
    );
    const id = nextDecisionId();
    const kind = classifyFirstBytes(first);
    const isHttp = kind === "http1" || kind === "http2";
    if (isHttp) {
      const transport = new SocketTransport(this.#raw, NOBODY);
      const answer = localAnswer(403, error.code, error.message, id, "GET", true);
      writeResponseHead(transport.out, answer.response);
      transport.out.bytes(answer.body);
      transport.flush();
      transport.end();
    }
    this.#refuse(error, id, isHttp);
  }

  #handshake(): void {
    const { config } = this.#parts;
    const ours = currentSvid(this.#runtime, config.svidHint);
    if (ours instanceof CountersignError) {
      this.#refuse(ours);
      return;
    }
    this.#socket = takeHandshake(this.#runtime, config, this.#raw, ours.svid, {
      onSecured: (tls, caller) => this.#secured(tls, caller),
      onRefused: (error, shown) => {
        if (shown !== undefined) this.#context = this.#makeContext(undefined, shown.svid, shown.tls);
        this.#refuse(error);
      },
    });
  }

  #secured(tls: TLSSocket, { peer, svid, alpn, verifyAgain }: SecuredCaller): void {
    this.#unwatch();
    this.#verifyAgain = verifyAgain;
    this.#end = connectionEnd(Math.min(peer.validUntilMs, svid.notAfterMs), this.#runtime.timeouts.connectionAge);
    const transport = new SocketTransport(tls, NOBODY);
    this.#identified(peer, svid, tls).start(transport, alpn, undefined);
  }

  #plaintext(transport: SocketTransport, first: Uint8Array | undefined): void {
    this.#end = connectionEnd(Number.POSITIVE_INFINITY, this.#runtime.timeouts.connectionAge);
    this.#identified(undefined, undefined, undefined).start(transport, "", first);
  }

  #identified(peer: Peer | undefined, svid: Svid | undefined, tls: TLSSocket | undefined): InboundServing {
    const { config } = this.#parts;
    const servername: unknown = tls === undefined ? undefined : tls.servername;
    this.#context = this.#makeContext(peer, svid, tls);
    const facts: ConnectionFacts = {
      peer,
      sourceIp: this.#sourceIp,
      remoteIp: this.#client?.ip ?? this.#sourceIp,
      destinationIp: canonicalIpAddress(this.#raw.localAddress ?? "") ?? "",
      destinationPort: config.appPort,
      sni: typeof servername === "string" ? servername : "",
    };
    const ends = {
      source: this.#client ?? { ip: this.#sourceIp, port: this.#raw.remotePort ?? 0 },
      destination: { ip: facts.destinationIp, port: this.#raw.localPort ?? 0 },
    };
    const caller = { peer, svid, context: this.#context, facts, ends, startedMs: this.#startedMs };
    this.#serving = new InboundServing(this.#runtime, this.#parts, caller, this.#draining);
    return this.#serving;
  }

  #makeContext(peer: Peer | undefined, svid: Svid | undefined, tls: TLSSocket | undefined): ConnectionContext {
    const { config } = this.#parts;
    return {
      direction: "inbound",
      listener: config.name,
      source: peer,
      sourceAddress: sourceAddressOf(this.#raw),
      sourceUid: undefined,
      sourcePid: undefined,
      destination: svid === undefined ? undefined : { spiffeId: svid.spiffeId, serial: svid.serial },
      destinationAddress: addressText(config.app),
      appPort: config.appPort === 0 ? undefined : config.appPort,
      tlsVersion: tls?.getProtocol() ?? undefined,
      tlsCipher: tls?.getCipher().standardName,
    };
  }

  #watch(timeoutMs: number, onDeadline: () => void): void {
    this.#guard = { deadlineMs: deadlineAfter(timeoutMs), onDeadline };
    this.#runtime.deadlines.add(this.#guard);
  }

  #unwatch(): void {
    if (this.#guard !== undefined) this.#runtime.deadlines.delete(this.#guard);
    this.#guard = undefined;
  }

  #refuse(error: CountersignError, id?: string, answered = false): void {
    if (this.#closed) return;
    this.#unwatch();
    recordRefusal(this.#runtime, this.#context, error, this.#startedMs, id);
    // an answer is on its way: a short time for it to leave, then the end
    if (answered) this.#watch(1000, () => this.#socket.destroy());
    else this.#socket.destroy();
  }

  #gone(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#unwatch();
    this.#onClosed();
  }

  get calls(): number {
    return this.#serving?.calls ?? 0;
  }

  drain(): void {
    this.#draining = true;
    if (this.#serving === undefined) this.#socket.destroy();
    else this.#serving.drain();
  }

  cut(code: ErrorCode, detail: string): void {
    this.#serving?.cut(code, detail);
    this.#socket.destroy();
  }

  onIdentity(snapshot: IdentitySnapshot): void {
    const problem = this.#verifyAgain?.(snapshot, Date.now());
    if (problem !== undefined) {
      this.cut(problem.code, problem.message);
      return;
    }
    const shown = this.#context.destination?.spiffeId;
    const ours = currentSvid(this.#runtime, this.#parts.config.svidHint);
    // what this side proved to be it is not any more: callers come back and see who it is now
    const isAnother = shown !== undefined && !(ours instanceof CountersignError) && ours.svid.spiffeId !== shown;
    if (isAnother && !this.#draining) this.drain();
  }

  onIdentityLost(problem: CountersignError): void {
    if (this.#verifyAgain !== undefined) this.cut(problem.code, problem.message);
  }

  onPolicy(): void {
    if (this.#serving !== undefined) {
      const mtls = this.#mtls;
      const { tlsVersion } = this.#context;
      if (mtls === "strict" && tlsVersion === undefined) {
        this.cut("E_PLAINTEXT_REFUSED", "the policy in force takes only mutual TLS here");
        return;
      }
      // what was said by mutual TLS stays said; the caller comes back as the policy wants it
      if (mtls === "disable" && tlsVersion !== undefined && !this.#draining) this.drain();
    }
    this.#serving?.reauthorize();
  }

  onTick(nowWallMs: number): void {
    this.#serving?.onTick(nowWallMs);
    const end = this.#end;
    if (end === undefined) return;
    if (nowWallMs >= end.cutMs) this.cut("E_PEER_EXPIRED_OPEN", "the identity that opened the connection expired");
    else if (nowWallMs >= end.drainMs && !this.#draining) this.drain();
  }
}
