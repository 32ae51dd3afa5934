import { CountersignError } from "../../core/errors.ts";
import { monotonicMs } from "../monotonic.ts";
import { type ClientConnectionOwner, Http1ClientConnection } from "./http1-client-connection.ts";
import type { PoolConnections } from "./pool-connections.ts";
import type { OurIdentity } from "./pool-options.ts";
import { type Connected, pooledParts } from "./pooled-connection.ts";

const ONLY_HTTP1: readonly string[] = ["http/1.1"];

/** The HTTP/1.1 connections of a pool: each carries one call, and waits for the next one when that is over. */
export class OwnConnections implements ClientConnectionOwner {
  readonly #connections: PoolConnections;
  /** Last used first: the fewest connections stay warm, the rest time out. */
  readonly #idle: Http1ClientConnection[] = [];
  #closed = false;

  constructor(connections: PoolConnections) {
    this.#connections = connections;
  }

  /** One that waits, opened by our SVID of this fingerprint. */
  take(fingerprint: string): Http1ClientConnection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) return undefined;
      if (connection.closed) continue;
      if (connection.svidFingerprint === fingerprint && connection.takesCalls) return connection;
      connection.close();
    }
  }

  /** A new one. */
  dial(ours: OurIdentity | undefined, done: (connection: Http1ClientConnection | CountersignError) => void): void {
    const full = this.#connections.whyFull();
    if (full !== undefined) {
      done(full);
      return;
    }
    this.#connections.dial(ours, ONLY_HTTP1, (connected) => {
      if (connected instanceof CountersignError) {
        done(connected);
        return;
      }
      const connection = this.#add(ours, connected);
      done(this.#connections.changedMeanwhile(ours, connection) ?? connection);
    });
  }

  /** One that was made for many to share, and whose peer chose to carry one call at a time. */
  keep(ours: OurIdentity, connected: Connected): void {
    const connection = this.#add(ours, connected);
    const isUseful = this.#connections.options.mesh?.alpn.includes("http/1.1") === true;
    if (isUseful && this.#connections.changedMeanwhile(ours, connection) === undefined) this.onIdle(connection);
    else connection.close();
  }

  #add(ours: OurIdentity | undefined, connected: Connected): Http1ClientConnection {
    const { limits } = this.#connections.options;
    const connection = new Http1ClientConnection({ ...pooledParts(ours, connected), limits }, this);
    this.#connections.add(connection);
    return connection;
  }

  onIdle(connection: Http1ClientConnection): void {
    if (this.#closed || connection.closed) {
      connection.close();
      return;
    }
    const { idleMs } = this.#connections.options;
    connection.deadlineMs = monotonicMs() + Math.min(idleMs, connection.serverIdleMs);
    this.#idle.push(connection);
  }

  onClosed(connection: Http1ClientConnection): void {
    this.#connections.remove(connection);
    const at = this.#idle.indexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
  }

  /** Those of an older SVID take no new call. */
  onIdentity(fingerprint: string): void {
    for (const connection of this.#idle.splice(0)) {
      if (connection.isCurrent(fingerprint)) this.#idle.push(connection);
      else connection.close();
    }
  }

  /** Closes what waits, and the others when their calls end. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }
}
