import type { Socket } from "node:net";
import type { ConnectionFacts } from "../../core/call-facts.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot } from "../../core/identity.ts";
import { canonicalIpAddress } from "../../core/ip-address.ts";
import { type ConnectionEnd, connectionEnd } from "../connection-life.ts";
import { deadlineAfter, type HasDeadline } from "../deadlines.ts";
import type { Fields, RequestHead } from "../http1/http1-events.ts";
import { Http1ServerConnection } from "../http1-server-connection.ts";
import { endGently } from "../linger.ts";
import { attestCaller } from "../local-caller.ts";
import { LocalContext } from "../local-context.ts";
import type { OpenConnection } from "../open-connection.ts";
import { recordRefusal } from "../refusals.ts";
import { scanRequestFields } from "../request-fields.ts";
import type { Runtime } from "../runtime.ts";
import { ServedProtocol } from "../served-protocol.ts";
import { NOBODY, SocketTransport } from "../transport.ts";
import { connectAnswer } from "./connect-answer.ts";
import { type Destination, makeDestination, readDestination } from "./destination.ts";
import { ForwardHttp, type ForwardHttpContext } from "./forward-http.ts";
import type { ForwardListenerParts } from "./forward-listener-parts.ts";
import { ForwardTunnel } from "./forward-tunnel.ts";
import { meshRelay } from "./mesh-relay.ts";
import { namesThatEndHere } from "./own-credentials.ts";
import { Socks5Front, socks5ReplyTo } from "./socks5-front.ts";
import type { TunnelAnswer, TunnelParts } from "./tunnel-parts.ts";
import { TLS_ALERT, tlsAlert } from "./wire/client-hello.ts";
import { SOCKS5_REPLY, SOCKS5_VERSION, type Socks5Request, socks5ReplyBytes } from "./wire/socks5.ts";

const IGNORED = (): void => undefined;
const NO_FIELDS: Fields = { raw: [], lower: [] };
const SOCKS4_VERSION = 4;
const TLS_HANDSHAKE = 0x16;

/** A connection of our own app to the egress proxy. Its first byte says what it speaks: SOCKS5, or HTTP/1.1 with CONNECT or
 *  absolute-form requests. */
export class ForwardConnection implements OpenConnection {
  readonly #runtime: Runtime;
  readonly #parts: ForwardListenerParts;
  readonly #raw: Socket;
  readonly #onClosed: () => void;
  readonly #startedMs = performance.now();
  readonly #end: ConnectionEnd;
  /** Why this caller gets nothing. It is told in answer to what it asks. */
  #forbidden: CountersignError | undefined;
  readonly #context: LocalContext;
  #front: Http1ServerConnection | undefined;
  #http: ForwardHttpContext | undefined;
  #tunnel: ForwardTunnel | undefined;
  readonly #served = new ServedProtocol();
  #draining = false;
  #closed = false;

  constructor(runtime: Runtime, parts: ForwardListenerParts, raw: Socket, onClosed: () => void) {
    this.#runtime = runtime;
    this.#parts = parts;
    this.#raw = raw;
    this.#onClosed = onClosed;
    this.#context = new LocalContext(runtime, parts.config, raw, "");
    this.#end = connectionEnd(Number.POSITIVE_INFINITY, runtime.timeouts.connectionAge);
  }

  start(): void {
    const { config } = this.#parts;
    const raw = this.#raw;
    raw.on("error", IGNORED);
    const attested = attestCaller(raw, config.listen.kind === "unix", config.allowUids);
    this.#context.attested(attested.caller);
    this.#forbidden = attested.refused;
    const transport = new SocketTransport(raw, NOBODY);
    raw.once("close", () => {
      this.#closed = true;
      this.#onClosed();
    });
    const { deadlines, timeouts } = this.#runtime;
    const guard: HasDeadline = {
      deadlineMs: deadlineAfter(timeouts.head),
      onDeadline: () => raw.destroy(),
    };
    deadlines.add(guard);
    const over = (): void => deadlines.delete(guard);
    transport.owner = {
      onBytes: (chunk) => {
        over();
        this.#firstBytes(transport, chunk);
      },
      onFin: () => {
        over();
        raw.destroy();
      },
      onWritable: IGNORED,
      onGone: over,
    };
    transport.resume();
  }

  #firstBytes(transport: SocketTransport, chunk: Uint8Array): void {
    const [first] = chunk;
    if (first === SOCKS5_VERSION) this.#serveSocks5(transport, chunk);
    else if (first === SOCKS4_VERSION) {
      this.#refuse(transport, new CountersignError("E_EGRESS_SOCKS", "the client speaks SOCKS4"));
    } else if (first === TLS_HANDSHAKE) {
      transport.writeBytes(tlsAlert(TLS_ALERT.handshakeFailure));
      const detail = "the client speaks TLS to the proxy itself: its proxy URL begins with http://";
      this.#refuse(transport, new CountersignError("E_EGRESS_TARGET", detail));
    } else this.#serveHttp(transport, chunk);
  }

  // ── HTTP ──

  #serveHttp(transport: SocketTransport, first: Uint8Array): void {
    const { limits, timeouts, deadlines } = this.#runtime;
    const http = this.#makeHttp(undefined);
    const service = new ForwardHttp(this.#runtime, http);
    const front = new Http1ServerConnection(transport, service, {
      limits,
      timeouts,
      onClosed: () => deadlines.delete(front),
      onConnect: (head, early) => {
        this.#front = undefined;
        this.#http = undefined;
        this.#connect(transport, head, early);
      },
    });
    this.#front = front;
    deadlines.add(front);
    front.onBytes(first);
  }

  #makeHttp(tunnel: Destination | undefined): ForwardHttpContext {
    const http: ForwardHttpContext = {
      currentContext: () => this.#context.current,
      listenPort: () => this.#raw.localPort,
      facts: this.#facts(),
      parts: this.#parts,
      forbidden: this.#forbidden,
      tunnel,
      closing: this.#draining,
    };
    this.#http = http;
    return http;
  }

  #connect(transport: SocketTransport, head: RequestHead, early: Uint8Array | undefined): void {
    const answer = connectAnswer(transport, this.#runtime.deadlines);
    const destination = this.#forbidden ?? readDestination(head.authority, undefined, this.#parts.config.forward);
    const { kept } = scanRequestFields(head.fields, namesThatEndHere(head), true);
    this.#openTunnel(transport, destination, head.authority, head.method, kept, answer, early);
  }

  // ── SOCKS5 ──

  #serveSocks5(transport: SocketTransport, first: Uint8Array): void {
    const { deadlines, timeouts } = this.#runtime;
    const front = new Socks5Front({
      transport,
      deadlines,
      timeoutMs: timeouts.head,
      onRequest: (request, early) => this.#socksRequest(transport, request, early),
      onRefused: (error) => this.#refuse(transport, error),
      onGone: IGNORED,
    });
    front.onBytes(first);
  }

  #socksRequest(
    transport: SocketTransport,
    request: Extract<Socks5Request, { kind: "connect" }>,
    early: Uint8Array | undefined,
  ): void {
    const answer: TunnelAnswer = {
      accept: () => transport.writeBytes(socks5ReplyBytes(SOCKS5_REPLY.succeeded)),
      refuse: (error) => {
        transport.writeBytes(socks5ReplyBytes(socks5ReplyTo(error)));
        endGently(transport, this.#runtime.deadlines);
      },
    };
    const { host, port } = request;
    const destination = this.#forbidden ?? makeDestination(host, port, this.#parts.config.forward, false);
    this.#openTunnel(transport, destination, `${host}:${port}`, undefined, NO_FIELDS, answer, early);
  }

  // ── tunnels of both ──

  #openTunnel(
    transport: SocketTransport,
    destination: Destination | CountersignError,
    asked: string,
    method: string | undefined,
    fields: Fields,
    answer: TunnelAnswer,
    early: Uint8Array | undefined,
  ): void {
    if (destination instanceof CountersignError) {
      const id = recordRefusal(this.#runtime, this.#context.current, destination, this.#startedMs, undefined, {
        method,
        authority: asked,
      });
      answer.refuse(destination, id);
      return;
    }
    const parts: TunnelParts = {
      runtime: this.#runtime,
      listener: this.#parts,
      context: this.#context.current,
      facts: this.#facts(),
      listenPort: () => this.#raw.localPort,
      fields,
      method,
      destination,
      transport,
      answer,
      onHttp: (version, first) => {
        const service = new ForwardHttp(this.#runtime, this.#makeHttp(destination));
        if (version === "http1") this.#served.serveHttp1(this.#runtime, transport, service, first);
        else this.#served.serveHttp2(this.#runtime, transport, service, first);
      },
      onMeshBytes: (addresses, authority, first) => {
        const relay = meshRelay(parts, this.#context.current, addresses, authority);
        this.#served.serveTcp(relay, transport, first, this.#startedMs);
      },
    };
    const tunnel = new ForwardTunnel(parts, this.#startedMs);
    this.#tunnel = tunnel;
    tunnel.start(early);
  }

  #facts(): ConnectionFacts {
    const sourceIp = canonicalIpAddress(this.#raw.remoteAddress ?? "") ?? "";
    return { peer: undefined, sourceIp, remoteIp: sourceIp, destinationIp: "", destinationPort: 0, sni: "" };
  }

  #refuse(transport: SocketTransport, error: CountersignError): void {
    if (this.#closed) return;
    recordRefusal(this.#runtime, this.#context.current, error, this.#startedMs);
    endGently(transport, this.#runtime.deadlines);
  }

  get calls(): number {
    if (this.#tunnel !== undefined && !this.#tunnel.done) return 1;
    return (this.#front?.calls ?? 0) + this.#served.calls;
  }

  drain(): void {
    this.#draining = true;
    if (this.#http !== undefined) this.#http.closing = true;
    if (this.#tunnel !== undefined && !this.#tunnel.done) return;
    if (this.#front !== undefined) this.#front.drain();
    else if (!this.#served.drain()) this.#raw.destroy();
  }

  cut(code: ErrorCode, detail: string): void {
    this.#tunnel?.cut(code, detail);
    this.#front?.cut(code, detail);
    this.#served.cut(code, detail);
    this.#raw.destroy();
  }

  onIdentity(_snapshot: IdentitySnapshot): void {
    this.#served.tcp?.reverify(Date.now());
  }

  onIdentityLost(_problem: CountersignError): void {
    this.#served.tcp?.reverify(Date.now());
  }

  onPolicy(): void {
    this.#tunnel?.reauthorize();
    this.#front?.reauthorize();
    this.#served.reauthorize();
  }

  onTick(nowWallMs: number): void {
    this.#tunnel?.onTick();
    this.#front?.onTick();
    this.#served.onTick(nowWallMs);
    if (nowWallMs >= this.#end.drainMs && !this.#draining) this.drain();
  }
}
