import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { decide, policyReadsHttp } from "../authz/decide.ts";
import { readPeerChain, serverTlsOptions } from "../certs/tls-context.ts";
import type { InboundConfig } from "../config/sidecar-config.ts";
import type { ConnectionFacts } from "../core/call-facts.ts";
import type { ConnectionContext } from "../core/call-outcome.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentitySnapshot, Peer, Svid } from "../core/identity.ts";
import { canonicalIpAddress } from "../core/ip-address.ts";
import { nextDecisionId } from "./call-identifiers.ts";
import { type ConnectionEnd, connectionEnd } from "./connection-life.ts";
import { deadlineAfter, type HasDeadline } from "./deadlines.ts";
import { type Sniffed, sniffFirstBytes } from "./first-bytes.ts";
import { writeResponseHead } from "./http1/write-head.ts";
import { type InboundContext, InboundHttp } from "./inbound-http.ts";
import { localAnswer } from "./local-answer.ts";
import type { OpenConnection } from "./open-connection.ts";
import { recordRefusal } from "./refusals.ts";
import { currentSvid, type Runtime } from "./runtime.ts";
import { ServedProtocol } from "./served-protocol.ts";
import type { TcpRelayParts } from "./tcp-relay.ts";
import { NOBODY, SocketTransport, type Transport } from "./transport.ts";
import { addressText, reasonOf } from "./upstream/dial.ts";
import type { HttpPool } from "./upstream/http-pool.ts";

export interface InboundListenerParts {
  readonly config: InboundConfig;
  readonly pool: HttpPool;
}

const HTTP1_ALPN = "http/1.1";
const HTTP2_ALPN = "h2";
const IGNORED = (): void => undefined;

/** A connection from the mesh: told TLS from plaintext, verified, its protocol told, then served. */
export class InboundConnection implements OpenConnection {
  readonly #runtime: Runtime;
  readonly #parts: InboundListenerParts;
  readonly #raw: Socket;
  readonly #startedMs = performance.now();
  readonly #sourceIp: string;
  readonly #onClosed: () => void;
  #context: ConnectionContext;
  #inbound: InboundContext | undefined;
  #end: ConnectionEnd | undefined;
  #verifyAgain: ((snapshot: IdentitySnapshot, nowMs: number) => CountersignError | undefined) | undefined;
  /** Set while the connection has no protocol yet. */
  #guard: (HasDeadline & { deadlineMs: number }) | undefined;
  readonly #served = new ServedProtocol();
  #draining = false;
  #closed = false;
  /** What to end: the TLS socket once there is one. Closing the raw one under it, from inside a TLS event, would free what OpenSSL
   *  still uses. */
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
    if (this.#parts.config.mtls === "disable") {
      this.#plaintext(new SocketTransport(raw, NOBODY), undefined);
      return;
    }
    const { handshake } = this.#runtime.timeouts;
    this.#watch(handshake, () =>
      this.#refuse(new CountersignError("E_HANDSHAKE_TIMEOUT", "no complete TLS handshake in time")),
    );
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

  #firstChunk(first: Buffer): void {
    const { config } = this.#parts;
    if (first[0] === 0x16) {
      this.#raw.unshift(first);
      this.#handshake();
      return;
    }
    if (config.mtls === "permissive") {
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
    const isHttp = looksLikeHttp1(first);
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
    const { svid } = ours;
    const tls = new TLSSocket(this.#raw, {
      isServer: true,
      ...serverTlsOptions(svid),
      ALPNCallback: ({ protocols }: { protocols: string[] }) => this.#chooseAlpn(protocols),
    });
    this.#socket = tls;
    const onError = (error: Error): void => {
      this.#refuse(new CountersignError("E_TLS_HANDSHAKE", reasonOf(error), { cause: error }));
    };
    tls.once("error", onError);
    tls.once("secure", () => {
      if (this.#closed) return;
      tls.removeListener("error", onError);
      tls.on("error", IGNORED);
      const chain = readPeerChain(tls);
      // by what is trusted now, not by what was when the handshake began
      const now = currentSvid(this.#runtime, config.svidHint);
      if (now instanceof CountersignError) {
        this.#refuse(now);
        return;
      }
      const verdict = this.#runtime.verifyPeer(chain, now.snapshot.bundles, Date.now());
      if (verdict.kind === "refused") {
        this.#context = this.#makeContext(undefined, svid, tls);
        const claimed = verdict.claimed === undefined ? "" : ` (claimed ${verdict.claimed})`;
        this.#refuse(new CountersignError(verdict.code, verdict.reason + claimed));
        return;
      }
      this.#unwatch();
      this.#verifyAgain = (newer, nowMs) => {
        const again = this.#runtime.verifyPeer(chain, newer.bundles, nowMs);
        return again.kind === "refused" ? new CountersignError("E_PEER_NO_LONGER_TRUSTED", again.reason) : undefined;
      };
      this.#secured(tls, svid, verdict.peer);
    });
  }

  /** Configuration outranks ALPN: a TCP listener takes whatever name is offered. */
  #chooseAlpn(offered: readonly string[]): string | undefined {
    const { protocol } = this.#parts.config;
    if (protocol === "tcp") return offered[0];
    if (offered.includes(HTTP2_ALPN)) return HTTP2_ALPN;
    if (offered.includes(HTTP1_ALPN)) return HTTP1_ALPN;
    return protocol === "auto" ? offered[0] : undefined;
  }

  #secured(tls: TLSSocket, svid: Svid, peer: Peer): void {
    const { config } = this.#parts;
    const transport = new SocketTransport(tls, NOBODY);
    this.#end = connectionEnd(Math.min(peer.validUntilMs, svid.notAfterMs), this.#runtime.timeouts.connectionAge);
    this.#identified(peer, svid, tls);
    if (config.protocol === "tcp") this.#serveTcp(transport, undefined);
    else if (tls.alpnProtocol === HTTP2_ALPN) this.#serveHttp2(transport, undefined);
    else if (tls.alpnProtocol === HTTP1_ALPN) this.#serveHttp1(transport, undefined);
    else this.#sniff(transport, undefined);
  }

  #plaintext(transport: SocketTransport, first: Uint8Array | undefined): void {
    const { config } = this.#parts;
    this.#end = connectionEnd(Number.POSITIVE_INFINITY, this.#runtime.timeouts.connectionAge);
    this.#identified(undefined, undefined, undefined);
    if (config.protocol === "tcp") this.#serveTcp(transport, first);
    else this.#sniff(transport, first);
  }

  #identified(peer: Peer | undefined, svid: Svid | undefined, tls: TLSSocket | undefined): void {
    const { config, pool } = this.#parts;
    const servername: unknown = tls === undefined ? undefined : tls.servername;
    this.#context = this.#makeContext(peer, svid, tls);
    const facts: ConnectionFacts = {
      peer,
      sourceIp: this.#sourceIp,
      remoteIp: this.#sourceIp,
      destinationIp: canonicalIpAddress(this.#raw.localAddress ?? "") ?? "",
      destinationPort: config.appPort,
      sni: typeof servername === "string" ? servername : "",
    };
    this.#inbound = {
      context: this.#context,
      facts,
      peer,
      svid,
      xfcc: config.xfcc,
      upgrades: config.upgrades,
      jwtSvid: config.jwtSvid,
      pool,
      closing: this.#draining,
    };
  }

  #sniff(transport: SocketTransport, first: Uint8Array | undefined): void {
    const { deadlines, timeouts } = this.#runtime;
    // what speaks HTTP for certain has a head's time to begin
    const patience = this.#parts.config.protocol === "auto" ? timeouts.classify : timeouts.head;
    sniffFirstBytes(transport, first, deadlines, patience, (sniffed) => this.#classified(transport, sniffed));
  }

  #classified(transport: SocketTransport, sniffed: Sniffed): void {
    switch (sniffed.kind) {
      case "http1":
        this.#serveHttp1(transport, sniffed.bytes);
        return;
      case "http2":
        this.#serveHttp2(transport, sniffed.bytes);
        return;
      case "tls":
      case "opaque":
      case "silent":
      case "more":
        if (this.#parts.config.protocol !== "auto") {
          this.#serveHttp1(transport, sniffed.bytes);
          return;
        }
        // The caller must not choose which rules see it (authorization section 7).
        if (policyReadsHttp(this.#runtime.inForce.policy, this.#parts.config.appPort)) {
          const code = sniffed.kind === "silent" ? "E_CLASSIFY_TIMEOUT" : "E_CLASSIFY";
          this.#refuse(
            new CountersignError(code, "policies with HTTP fields apply, and the caller does not speak HTTP"),
          );
          return;
        }
        this.#serveTcp(transport, sniffed.bytes);
        return;
      case "gone":
        this.#socket.destroy();
        return;
    }
  }

  #serveHttp1(transport: Transport, first: Uint8Array | undefined): void {
    this.#served.serveHttp1(this.#runtime, transport, this.#service(), first);
  }

  #service(): InboundHttp {
    const inbound = this.#inbound;
    if (inbound === undefined) throw new TypeError("served before it was identified");
    return new InboundHttp(this.#runtime, inbound);
  }

  #serveHttp2(transport: SocketTransport, first: Uint8Array | undefined): void {
    this.#served.serveHttp2(this.#runtime, transport, this.#service(), first);
  }

  #serveTcp(transport: Transport, early: Uint8Array | undefined): void {
    const inbound = this.#inbound;
    if (inbound === undefined) throw new TypeError("served before it was identified");
    const { config } = this.#parts;
    const relay: TcpRelayParts = {
      runtime: this.#runtime,
      context: inbound.context,
      facts: inbound.facts,
      decide: (facts) => decide(this.#runtime.inForce.policy, facts),
      dial: () => ({
        endpoints: [config.app],
        source: config.appSource,
        identity: undefined,
        withoutAlpn: NO_ENDPOINTS,
      }),
    };
    this.#served.serveTcp(relay, transport, early, this.#startedMs);
  }

  #makeContext(peer: Peer | undefined, svid: Svid | undefined, tls: TLSSocket | undefined): ConnectionContext {
    const { config } = this.#parts;
    const { remoteAddress, remotePort } = this.#raw;
    return {
      direction: "inbound",
      listener: config.name,
      source: peer,
      sourceAddress:
        remoteAddress === undefined || remotePort === undefined
          ? "unix"
          : addressText({ kind: "tcp", host: canonicalIpAddress(remoteAddress) ?? remoteAddress, port: remotePort }),
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
    return this.#served.calls;
  }

  drain(): void {
    this.#draining = true;
    if (this.#inbound !== undefined) this.#inbound.closing = true;
    if (!this.#served.drain() && this.#inbound === undefined) this.#socket.destroy();
  }

  cut(code: ErrorCode, detail: string): void {
    this.#served.cut(code, detail);
    this.#socket.destroy();
  }

  onIdentity(snapshot: IdentitySnapshot): void {
    const problem = this.#verifyAgain?.(snapshot, Date.now());
    if (problem !== undefined) this.cut(problem.code, problem.message);
  }

  onIdentityLost(problem: CountersignError): void {
    if (this.#verifyAgain !== undefined) this.cut(problem.code, problem.message);
  }

  onPolicy(): void {
    this.#served.reauthorize();
  }

  onTick(nowWallMs: number): void {
    this.#served.onTick(nowWallMs);
    const end = this.#end;
    if (end === undefined) return;
    if (nowWallMs >= end.cutMs) this.cut("E_PEER_EXPIRED_OPEN", "the identity that opened the connection expired");
    else if (nowWallMs >= end.drainMs && !this.#draining) this.drain();
  }
}

const NO_ENDPOINTS: Set<string> = new Set();

function looksLikeHttp1(first: Uint8Array): boolean {
  // an upper-case method and a space within the first bytes; good enough to choose between an answer and silence
  let i = 0;
  while (i < first.length && i < 10) {
    const c = first[i] ?? 0;
    if (c === 0x20) return i >= 3;
    if (c < 0x41 || c > 0x5a) return false;
    i++;
  }
  return false;
}
