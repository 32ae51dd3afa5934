import type { CallOutcome } from "../../core/call-outcome.ts";
import type { Permit } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot } from "../../core/identity.ts";
import type { OutgoingRequest, UpstreamStream } from "../http-streams.ts";
import { monotonicMs } from "../monotonic.ts";
import { type ReachedTcp, reachedByDial } from "../tcp-relay.ts";
import { TUNNEL_ALPN } from "../tunnel-names.ts";
import { dialAny } from "./dial-any.ts";
import { type ClientConnectionOwner, Http1ClientConnection } from "./http1-client-connection.ts";
import { Http2ClientConnection, type Http2ClientOwner } from "./http2-client-connection.ts";
import type { OurIdentity, PoolOptions, PoolTuning } from "./pool-options.ts";
import { type Connected, type PooledConnection, pooledParts } from "./pooled-connection.ts";
import { ProtocolMemory } from "./protocol-memory.ts";
import { type SharedDial, SharedDials, type SharedWaiter } from "./shared-dials.ts";

/** Who waits for a connection. */
export interface PoolWaiter {
  /** Where the call has failed before, as records name the address. */
  readonly failedAt?: string | undefined;
  /** Returns false if the connection is not wanted any more. */
  onAcquired(upstream: UpstreamStream, destination: CallOutcome["destination"], address: string): boolean;
  onAcquireFailed(error: CountersignError): void;
}

/** ALPN names that mean HTTP/2. */
const HTTP2_ALPN: ReadonlySet<string> = new Set(["h2", TUNNEL_ALPN]);
const ONLY_HTTP1: readonly string[] = ["http/1.1"];
const NO_ALPN: readonly string[] = [];

/** Connections of one listener to one address. The pool belongs to its listener, and inside it a connection is found only by the
 *  fingerprint of the SVID that opened it: a call never rides on another identity, nor on an older one of ours. */
export class HttpPool implements ClientConnectionOwner, Http2ClientOwner {
  #options: PoolOptions;
  readonly #connections = new Set<PooledConnection>();
  /** HTTP/1.1. Last used first: the fewest connections stay warm, the rest time out. */
  readonly #idle: Http1ClientConnection[] = [];
  /** HTTP/2. */
  #shared: Http2ClientConnection[] = [];
  readonly #dials = new SharedDials();
  readonly #memory = new ProtocolMemory();
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#connections.size;
  }

  /** Other limits from now on. What is open stays. */
  retune({ limits, maxConnections, connectTimeoutMs, handshakeTimeoutMs, idleMs }: PoolTuning): void {
    this.#options = { ...this.#options, limits, maxConnections, connectTimeoutMs, handshakeTimeoutMs, idleMs };
  }

  /** Gives the waiter a connection if there is one now that fits; else false, and `acquire` is to be asked. Only a call that holds a Permit
   *  may ask. */
  take(_permit: Permit, fresh: boolean, request: OutgoingRequest, waiter: PoolWaiter): boolean {
    const { mesh, identity } = this.#options;
    let fingerprint = "";
    if (mesh !== undefined) {
      const ours = identity();
      if (ours instanceof CountersignError) return false;
      fingerprint = ours.svid.fingerprint;
    }
    if (this.#wantsShared(request)) return this.#takeShared(fingerprint, request, waiter);
    return !fresh && this.#giveIdle(fingerprint, waiter);
  }

  #giveIdle(fingerprint: string, waiter: PoolWaiter): boolean {
    const found = this.#takeIdle(fingerprint);
    if (found === undefined) return false;
    if (!waiter.onAcquired(found, found.destination, found.address)) this.onIdle(found);
    return true;
  }

  /** Gives the waiter a connection, now or later. Only a call that holds a Permit may ask. `fresh`: not one that was used before. */
  acquire(permit: Permit, fresh: boolean, request: OutgoingRequest, waiter: PoolWaiter): void {
    const { mesh, identity } = this.#options;
    let ours: OurIdentity | undefined;
    if (mesh !== undefined) {
      const now = identity();
      if (now instanceof CountersignError) {
        waiter.onAcquireFailed(now);
        return;
      }
      ours = now;
    }
    const fingerprint = ours?.svid.fingerprint ?? "";
    if (this.#wantsShared(request)) {
      if (this.#takeShared(fingerprint, request, waiter)) return;
      // a peer that takes no upgrade on HTTP/2 gets HTTP/1.1 for it
      const refused =
        request.upgrade !== undefined && this.#shared.some((one) => this.#refusesUpgrade(one, fingerprint));
      if (!refused && !this.#isHttp1Now) {
        this.#awaitShared(ours, fingerprint, this.#callWaiting(permit, request, waiter));
        return;
      }
      if (request.needsHttp2 && mesh === undefined) {
        waiter.onAcquireFailed(NOT_HTTP2);
        return;
      }
    }
    if (fresh || !this.#giveIdle(fingerprint, waiter)) this.#dialOwn(ours, waiter);
  }

  #wantsShared(request: OutgoingRequest): boolean {
    if (this.#options.mesh !== undefined) return true;
    switch (this.#options.plaintext) {
      case "http1":
        return false;
      case "http2":
        return true;
      case "asked":
        return request.version === 2;
    }
  }

  get #isHttp1Now(): boolean {
    return this.#options.plaintext !== "http2" && this.#memory.isHttp1;
  }

  #takeShared(fingerprint: string, request: OutgoingRequest, waiter: PoolWaiter): boolean {
    for (const connection of this.#shared) {
      if (connection.svidFingerprint !== fingerprint || !connection.hasRoom || !connection.takesCalls) continue;
      if (request.upgrade !== undefined && !connection.takesExtendedConnect) continue;
      waiter.onAcquired(connection.place(), connection.destination, connection.address);
      return true;
    }
    return false;
  }

  #callWaiting(permit: Permit, request: OutgoingRequest, waiter: PoolWaiter): SharedWaiter {
    return {
      upgrades: request.upgrade !== undefined,
      serve: (connection) => void waiter.onAcquired(connection.place(), connection.destination, connection.address),
      again: () => this.acquire(permit, false, request, waiter),
      fail: (error) => waiter.onAcquireFailed(error),
    };
  }

  /** A stream that stands for a TCP connection to the other sidecar's inbound, on a connection that calls share. `done` gets undefined where the
   *  other side is no such sidecar: it gets plain TLS. Only a call that holds a Permit may ask. */
  tunnel(permit: Permit, inbound: string, done: (reached: ReachedTcp | CountersignError | undefined) => void): void {
    const { mesh, identity } = this.#options;
    if (mesh === undefined || this.#memory.takesNoTunnels) {
      done(undefined);
      return;
    }
    const ours = identity();
    if (ours instanceof CountersignError) {
      done(ours);
      return;
    }
    const { fingerprint } = ours.svid;
    const serve = (connection: Http2ClientConnection): void =>
      done({
        transport: connection.openTunnel(inbound),
        destination: connection.destination,
        address: connection.address,
        verifyAgain: undefined,
        expiresMs: connection.expiresMs,
      });
    const open = this.#shared.find(
      (one) => one.svidFingerprint === fingerprint && one.hasRoom && one.takesCalls && one.takesTunnels,
    );
    if (open !== undefined) {
      serve(open);
      return;
    }
    this.#awaitShared(ours, fingerprint, {
      upgrades: false,
      serve: (connection) => {
        if (connection.takesTunnels) serve(connection);
        else done(undefined);
      },
      again: () => this.tunnel(permit, inbound, done),
      fail: done,
    });
  }

  /** A connection that one TCP connection has for itself: plain TLS to a server of the mesh, plaintext to our app. Only a call that holds a
   *  Permit may ask. */
  connect(_permit: Permit, done: (reached: ReachedTcp | CountersignError) => void): void {
    const { mesh, identity, counts, load } = this.#options;
    const ours = mesh === undefined ? undefined : identity();
    if (ours instanceof CountersignError) {
      done(ours);
      return;
    }
    if (this.#isFull) {
      done(this.#tooMany());
      return;
    }
    this.#dial(ours, NO_ALPN, (connected) => {
      if (connected instanceof CountersignError) {
        done(connected);
        return;
      }
      const { dialed, address } = connected;
      load.succeeded();
      load.begin();
      dialed.socket.once("close", () => {
        load.ended();
        counts.connections--;
      });
      done(reachedByDial(dialed, address, ours?.svid.notAfterMs));
    });
  }

  /** Joins a connection that is being made, or begins one. */
  #awaitShared(ours: OurIdentity | undefined, fingerprint: string, waiter: SharedWaiter): void {
    if (this.#dials.join(fingerprint, waiter, this.#options.limits.streams)) return;
    if (this.#isFull) {
      waiter.fail(this.#tooMany());
      return;
    }
    const dial = this.#dials.begin(fingerprint, waiter);
    this.#dial(ours, this.#options.mesh?.alpn, (connected) => {
      if (connected instanceof CountersignError) {
        this.#dials.end(dial);
        for (const one of dial.waiting) one.fail(connected);
        return;
      }
      this.#sharedConnected(dial, ours, connected);
    });
  }

  #refusesUpgrade(connection: Http2ClientConnection, fingerprint: string): boolean {
    return connection.svidFingerprint === fingerprint && connection.isSettled && !connection.takesExtendedConnect;
  }

  #sharedConnected(dial: SharedDial, ours: OurIdentity | undefined, connected: Connected): void {
    if (ours !== undefined && !HTTP2_ALPN.has(connected.dialed.alpn)) {
      // the peer chose HTTP/1.1, or none: each call gets a connection of its own, the first of them this one
      this.#dials.end(dial);
      this.#memory.noteHttp1();
      this.#memory.noteNoTunnels();
      const connection = this.#addOwn(ours, connected);
      const isUseful = this.#options.mesh?.alpn.includes("http/1.1") === true;
      if (isUseful && this.#changedMeanwhile(ours, connection) === undefined) this.onIdle(connection);
      else connection.close();
      for (const one of dial.waiting) one.again();
      return;
    }
    const connection = this.#addShared(ours, connected);
    const problem = ours === undefined ? undefined : this.#changedMeanwhile(ours, connection);
    if (problem !== undefined) {
      this.#dials.end(dial);
      for (const one of dial.waiting) one.fail(problem);
      return;
    }
    // a peer that was asked by ALPN has said so already; an app is believed once it has answered in HTTP/2
    if (!connection.takesTunnels) this.#memory.noteNoTunnels();
    if (ours !== undefined && !dial.waiting.some((one) => one.upgrades)) {
      this.#dials.end(dial);
      this.#shared.push(connection);
      this.#serve(connection, dial.waiting);
    } else {
      // who comes meanwhile still joins: the dial ends when the answer is there
      this.#dials.awaitSettings(connection, dial);
    }
  }

  onSettled(connection: Http2ClientConnection): void {
    const waiting = this.#dials.settle(connection);
    if (waiting === undefined) return;
    this.#shared.push(connection);
    this.#serve(connection, waiting);
  }

  #serve(connection: Http2ClientConnection, waiting: readonly SharedWaiter[]): void {
    for (const one of waiting) {
      const fits = !one.upgrades || connection.takesExtendedConnect;
      if (fits && connection.hasRoom && !this.#closed) one.serve(connection);
      else one.again();
    }
    if (this.#closed) connection.close();
  }

  onSharedClosed(connection: Http2ClientConnection, error: CountersignError | undefined): void {
    this.#forget(connection);
    this.#options.deadlines.delete(connection);
    this.#shared = this.#shared.filter((one) => one !== connection);
    const waiting = this.#dials.settle(connection);
    if (waiting === undefined) return;
    const notHttp2 = error === undefined || error.code === "E_UPSTREAM_NOT_HTTP2";
    if (notHttp2 && connection.hasSpoken) this.#memory.noteHttp1();
    else if (notHttp2) this.#memory.noteSilent();
    for (const one of waiting) {
      if (notHttp2 && this.#options.plaintext !== "http2") one.again();
      else one.fail(error ?? NOT_HTTP2);
    }
  }

  #takeIdle(fingerprint: string): Http1ClientConnection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) return undefined;
      if (connection.closed) continue;
      if (connection.svidFingerprint === fingerprint && connection.takesCalls) return connection;
      connection.close();
    }
  }

  get #isFull(): boolean {
    return this.#options.counts.connections >= this.#options.maxConnections;
  }

  #tooMany(): CountersignError {
    const { maxConnections } = this.#options;
    return new CountersignError("E_UPSTREAM_LIMIT", `${maxConnections} upstream connections are open already`);
  }

  /** An HTTP/1.1 connection for one call. */
  #dialOwn(ours: OurIdentity | undefined, waiter: PoolWaiter, alpn: readonly string[] = ONLY_HTTP1): void {
    if (this.#isFull) {
      waiter.onAcquireFailed(this.#tooMany());
      return;
    }
    this.#dial(ours, alpn, (connected) => {
      if (connected instanceof CountersignError) waiter.onAcquireFailed(connected);
      else this.#useOwn(ours, connected, waiter);
    });
  }

  #dial(
    ours: OurIdentity | undefined,
    alpn: readonly string[] = ONLY_HTTP1,
    done: (connected: Connected | CountersignError) => void,
  ): void {
    const { endpoint, mesh, counts, load } = this.#options;
    counts.connections++;
    const identity = mesh === undefined || ours === undefined ? undefined : { ...ours, expected: mesh.expected, alpn };
    const plan = { ...this.#options, endpoints: [endpoint] as const, identity, withoutAlpn: this.#memory.withoutAlpn };
    dialAny(plan, 0, (result) => {
      if (result.kind === "connected") {
        done({ dialed: result.dialed, address: result.address, load });
        return;
      }
      counts.connections--;
      load.failed();
      done(result.error);
    });
  }

  #addOwn(ours: OurIdentity | undefined, connected: Connected): Http1ClientConnection {
    const { limits } = this.#options;
    const connection = new Http1ClientConnection({ ...pooledParts(ours, connected), limits }, this);
    this.#add(connection);
    return connection;
  }

  #useOwn(ours: OurIdentity | undefined, connected: Connected, waiter: PoolWaiter): void {
    const connection = this.#addOwn(ours, connected);
    const problem = ours === undefined ? undefined : this.#changedMeanwhile(ours, connection);
    if (problem !== undefined) {
      waiter.onAcquireFailed(problem);
      return;
    }
    // also from a pool that has been closed meanwhile: who waits for it is served, or would wait for ever
    if (!waiter.onAcquired(connection, connection.destination, connection.address)) this.onIdle(connection);
  }

  #addShared(ours: OurIdentity | undefined, connected: Connected): Http2ClientConnection {
    const { limits, idleMs, connectTimeoutMs } = this.#options;
    const parts = pooledParts(ours, connected);
    const connection = new Http2ClientConnection({ ...parts, limits, idleMs, settleMs: connectTimeoutMs }, this);
    this.#add(connection);
    return connection;
  }

  #add(connection: Http1ClientConnection | Http2ClientConnection): void {
    this.#connections.add(connection);
    this.#options.deadlines.add(connection);
  }

  #forget(connection: PooledConnection): void {
    if (this.#connections.delete(connection)) this.#options.counts.connections--;
  }

  /** The identity may have changed while the handshake ran: what holds for open connections holds for one that has just been opened. */
  #changedMeanwhile(ours: OurIdentity, connection: PooledConnection): CountersignError | undefined {
    const now = this.#options.identity();
    if (now instanceof CountersignError) {
      connection.close();
      return now;
    }
    if (now.snapshot !== ours.snapshot) connection.reverify(now.snapshot, Date.now());
    return connection.closed
      ? new CountersignError("E_PEER_NO_LONGER_TRUSTED", `${connection.address} is not trusted any more`)
      : undefined;
  }

  onIdle(connection: Http1ClientConnection): void {
    if (this.#closed || connection.closed) {
      connection.close();
      return;
    }
    connection.deadlineMs = monotonicMs() + Math.min(this.#options.idleMs, connection.serverIdleMs);
    this.#idle.push(connection);
  }

  onClosed(connection: Http1ClientConnection): void {
    this.#forget(connection);
    this.#options.deadlines.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
  }

  /** A new identity snapshot: connections of an older SVID take no new call, and all whose peer is not covered any more end. */
  onIdentity(snapshot: IdentitySnapshot, fingerprint: string): void {
    const isCurrent = (one: PooledConnection): boolean =>
      one.svidFingerprint === fingerprint || one.svidFingerprint === "";
    for (const connection of this.#idle.splice(0)) {
      if (isCurrent(connection)) this.#idle.push(connection);
      else connection.close();
    }
    const older = this.#shared.filter((connection) => !isCurrent(connection));
    this.#shared = this.#shared.filter(isCurrent);
    for (const connection of older) connection.close();
    const nowMs = Date.now();
    for (const connection of this.#connections) connection.reverify(snapshot, nowMs);
  }

  /** We have no identity any more: what was opened with it ends. */
  end(problem: CountersignError): void {
    for (const connection of this.#connections) connection.fail(problem);
  }

  /** Ends what runs on identities that are over: calls to a server whose SVID, or ours, has expired. */
  expire(nowMs: number): void {
    for (const connection of this.#connections) {
      if (connection.expiresMs <= nowMs) {
        connection.fail(
          new CountersignError("E_PEER_EXPIRED_OPEN", "the identity that opened the upstream connection expired"),
        );
      } else if (!connection.takesCalls && connection instanceof Http2ClientConnection) connection.close();
    }
  }

  /** Closes idle connections, and the others when their calls end. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
    for (const connection of this.#shared.splice(0)) connection.close();
  }
}

const NOT_HTTP2 = new CountersignError("E_UPSTREAM_NOT_HTTP2", "the app does not speak HTTP/2, which this call needs");
