import { CountersignError } from "../../core/errors.ts";
import { TUNNEL_ALPN } from "../tunnel-names.ts";
import { Http2ClientConnection, type Http2ClientOwner } from "./http2-client-connection.ts";
import type { OwnConnections } from "./own-connections.ts";
import type { PoolConnections } from "./pool-connections.ts";
import type { OurIdentity } from "./pool-options.ts";
import { type Connected, pooledParts } from "./pooled-connection.ts";
import { type SharedDial, SharedDials, type SharedWaiter } from "./shared-dials.ts";

/** ALPN names that mean HTTP/2. */
const HTTP2_ALPN: ReadonlySet<string> = new Set(["h2", TUNNEL_ALPN]);

/** Of a call that needs HTTP/2. */
export const NOT_HTTP2 = new CountersignError(
  "E_UPSTREAM_NOT_HTTP2",
  "the app does not speak HTTP/2, which this call needs",
);

/** The HTTP/2 connections of a pool, which calls and tunnels share, and those that are being made. */
export class SharedConnections implements Http2ClientOwner {
  readonly #connections: PoolConnections;
  /** Gets those whose peer turns out to speak HTTP/1.1. */
  readonly #own: OwnConnections;
  #open: Http2ClientConnection[] = [];
  readonly #dials = new SharedDials();
  #closed = false;

  constructor(connections: PoolConnections, own: OwnConnections) {
    this.#connections = connections;
    this.#own = own;
  }

  /** One with a place for a call, opened by our SVID of this fingerprint. `upgrades`: the call needs extended CONNECT. */
  forCall(fingerprint: string, upgrades: boolean): Http2ClientConnection | undefined {
    for (const connection of this.#open) {
      if (connection.svidFingerprint !== fingerprint || !connection.hasRoom || !connection.takesCalls) continue;
      if (upgrades && !connection.takesExtendedConnect) continue;
      return connection;
    }
    return undefined;
  }

  /** As forCall, to a sidecar of our kind. */
  forTunnel(fingerprint: string): Http2ClientConnection | undefined {
    return this.#open.find(
      (one) => one.svidFingerprint === fingerprint && one.hasRoom && one.takesCalls && one.takesTunnels,
    );
  }

  /** The peer has said that it takes no extended CONNECT. */
  refusesUpgrades(fingerprint: string): boolean {
    return this.#open.some((one) => one.svidFingerprint === fingerprint && one.isSettled && !one.takesExtendedConnect);
  }

  /** Joins a connection that is being made, or begins one. */
  wait(ours: OurIdentity | undefined, waiter: SharedWaiter): void {
    const { limits, mesh } = this.#connections.options;
    const fingerprint = ours?.svid.fingerprint ?? "";
    if (this.#dials.join(fingerprint, waiter, limits.streams)) return;
    const full = this.#connections.whyFull();
    if (full !== undefined) {
      waiter.fail(full);
      return;
    }
    const dial = this.#dials.begin(fingerprint, waiter);
    this.#connections.dial(ours, mesh?.alpn, (connected) => {
      if (connected instanceof CountersignError) {
        this.#dials.end(dial);
        for (const one of dial.waiting) one.fail(connected);
        return;
      }
      this.#connected(dial, ours, connected);
    });
  }

  #connected(dial: SharedDial, ours: OurIdentity | undefined, connected: Connected): void {
    const { memory } = this.#connections;
    if (ours !== undefined && !HTTP2_ALPN.has(connected.dialed.alpn)) {
      // the peer chose HTTP/1.1, or none: each call gets a connection of its own, the first of them this one
      this.#dials.end(dial);
      memory.noteHttp1();
      memory.noteNoTunnels();
      this.#own.keep(ours, connected);
      for (const one of dial.waiting) one.again();
      return;
    }
    const connection = this.#add(ours, connected);
    const problem = this.#connections.changedMeanwhile(ours, connection);
    if (problem !== undefined) {
      this.#dials.end(dial);
      for (const one of dial.waiting) one.fail(problem);
      return;
    }
    // a peer that was asked by ALPN has said so already; an app is believed once it has answered in HTTP/2
    if (!connection.takesTunnels) memory.noteNoTunnels();
    if (ours !== undefined && !dial.waiting.some((one) => one.upgrades)) {
      this.#dials.end(dial);
      this.#open.push(connection);
      this.#serve(connection, dial.waiting);
    } else {
      // who comes meanwhile still joins: the dial ends when the answer is there
      this.#dials.awaitSettings(connection, dial);
    }
  }

  #add(ours: OurIdentity | undefined, connected: Connected): Http2ClientConnection {
    const { limits, idleMs, connectTimeoutMs } = this.#connections.options;
    const parts = pooledParts(ours, connected);
    const connection = new Http2ClientConnection({ ...parts, limits, idleMs, settleMs: connectTimeoutMs }, this);
    this.#connections.add(connection);
    return connection;
  }

  #serve(connection: Http2ClientConnection, waiting: readonly SharedWaiter[]): void {
    for (const one of waiting) {
      const fits = !one.upgrades || connection.takesExtendedConnect;
      if (fits && connection.hasRoom && !this.#closed) one.serve(connection);
      else one.again();
    }
    if (this.#closed) connection.close();
  }

  onSettled(connection: Http2ClientConnection): void {
    const waiting = this.#dials.settle(connection);
    if (waiting === undefined) return;
    this.#open.push(connection);
    this.#serve(connection, waiting);
  }

  onSharedClosed(connection: Http2ClientConnection, error: CountersignError | undefined): void {
    const { memory, options } = this.#connections;
    this.#connections.remove(connection);
    this.#open = this.#open.filter((one) => one !== connection);
    const waiting = this.#dials.settle(connection);
    if (waiting === undefined) return;
    const notHttp2 = error === undefined || error.code === "E_UPSTREAM_NOT_HTTP2";
    if (notHttp2 && connection.hasSpoken) memory.noteHttp1();
    else if (notHttp2) memory.noteSilent();
    for (const one of waiting) {
      if (notHttp2 && options.plaintext !== "http2") one.again();
      else one.fail(error ?? NOT_HTTP2);
    }
  }

  /** Those of an older SVID take no new call. */
  onIdentity(fingerprint: string): void {
    const older = this.#open.filter((connection) => !connection.isCurrent(fingerprint));
    this.#open = this.#open.filter((connection) => connection.isCurrent(fingerprint));
    for (const connection of older) connection.close();
  }

  /** Closes each when its calls have ended. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#open.splice(0)) connection.close();
  }
}
