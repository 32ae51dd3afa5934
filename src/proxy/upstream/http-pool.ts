import type { PeerVerifier } from "../../certs/peer-verifier.ts";
import type { Address, ExpectedIdentity } from "../../config/sidecar-config.ts";
import type { CallOutcome } from "../../core/call-outcome.ts";
import type { Permit } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot, Svid } from "../../core/identity.ts";
import { drainLeadMs } from "../connection-life.ts";
import type { Deadlines } from "../deadlines.ts";
import type { UpstreamStream } from "../http-streams.ts";
import type { Http1Limits } from "../http1/http1-events.ts";
import { monotonicMs } from "../monotonic.ts";
import { dialAny } from "./dial-any.ts";
import { type ClientConnectionOwner, Http1ClientConnection } from "./http1-client-connection.ts";

export interface OurIdentity {
  readonly svid: Svid;
  readonly snapshot: IdentitySnapshot;
}

export interface PoolOptions {
  readonly endpoints: readonly [Address, ...Address[]];
  /** Of DialOptions, for all endpoints. */
  readonly serverName?: string | undefined;
  readonly source: string | undefined;
  /** Who we are and who the server must be; undefined: plaintext, toward our own app. */
  readonly mesh: { readonly expected: readonly ExpectedIdentity[]; readonly alpn: readonly string[] } | undefined;
  /** Our SVID for new connections now, or why there is none. Asked only for a mesh pool. */
  readonly identity: () => OurIdentity | CountersignError;
  readonly limits: Http1Limits;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  /** How long an unused connection is kept. Shorter than the server's own patience, so that the server rarely closes first. */
  readonly idleMs: number;
  readonly deadlines: Deadlines;
  readonly verifyPeer: PeerVerifier;
}

/** Who waits for a connection. */
export interface PoolWaiter {
  /** Returns false if the connection is not wanted any more. */
  onAcquired(upstream: UpstreamStream, destination: CallOutcome["destination"], address: string): boolean;
  onAcquireFailed(error: CountersignError): void;
}

/** Upstream connections of one listener. The pool belongs to its listener, and inside it a connection is found only by the
 *  fingerprint of the SVID that opened it: a call never rides on another identity, nor on an older one of ours. */
export class HttpPool implements ClientConnectionOwner {
  readonly #options: PoolOptions;
  readonly #connections = new Set<Http1ClientConnection>();
  /** Last used first: the fewest connections stay warm, the rest time out. */
  readonly #idle: Http1ClientConnection[] = [];
  /** Endpoints that refused our ALPN names: dialled without (design: one redial, remembered). */
  readonly #withoutAlpn = new Set<string>();
  #dialing = 0;
  #next = 0;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#connections.size;
  }

  /** Gives the waiter a connection, now or later. Only a call that holds a Permit may ask. `fresh`: not one that was used before. */
  acquire(_permit: Permit, fresh: boolean, waiter: PoolWaiter): void {
    const { mesh, identity, maxConnections } = this.#options;
    let ours: OurIdentity | undefined;
    if (mesh !== undefined) {
      const now = identity();
      if (now instanceof CountersignError) {
        waiter.onAcquireFailed(now);
        return;
      }
      ours = now;
    }
    if (!fresh) {
      const found = this.#takeIdle(ours?.svid.fingerprint ?? "");
      if (found !== undefined) {
        if (!waiter.onAcquired(found, found.destination, found.address)) this.onIdle(found);
        return;
      }
    }
    if (this.#connections.size + this.#dialing >= maxConnections) {
      waiter.onAcquireFailed(
        new CountersignError("E_UPSTREAM_LIMIT", `${maxConnections} upstream connections are open already`),
      );
      return;
    }
    this.#dial(ours, waiter);
  }

  #takeIdle(fingerprint: string): Http1ClientConnection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) return undefined;
      if (connection.closed) continue;
      if (connection.svidFingerprint === fingerprint && takesCalls(connection)) {
        return connection;
      }
      connection.close();
    }
  }

  #dial(ours: OurIdentity | undefined, waiter: PoolWaiter): void {
    const { endpoints, mesh } = this.#options;
    this.#next = (this.#next + 1) % endpoints.length;
    this.#dialing++;
    const identity =
      mesh === undefined || ours === undefined ? undefined : { ...ours, expected: mesh.expected, alpn: mesh.alpn };
    dialAny({ ...this.#options, identity, withoutAlpn: this.#withoutAlpn }, this.#next, (result) => {
      this.#dialing--;
      if (result.kind === "failed") {
        waiter.onAcquireFailed(result.error);
        return;
      }
      const { dialed, address } = result;
      let expiresMs = Number.POSITIVE_INFINITY;
      let validUntilMs = expiresMs;
      if (dialed.peer !== undefined && ours !== undefined) {
        expiresMs = Math.min(dialed.peer.validUntilMs, ours.svid.notAfterMs);
        // the server drains at its lead; leaving a little earlier spares the race
        validUntilMs = expiresMs - drainLeadMs(expiresMs - Date.now()) * 1.25;
      }
      const fingerprint = ours?.svid.fingerprint ?? "";
      const { limits } = this.#options;
      const connection = new Http1ClientConnection(
        { dialed, address, fingerprint, validUntilMs, expiresMs, limits },
        this,
      );
      this.#connections.add(connection);
      this.#options.deadlines.add(connection);
      const problem = ours === undefined ? undefined : this.#changedMeanwhile(ours, connection);
      if (problem !== undefined) {
        waiter.onAcquireFailed(problem);
        return;
      }
      if (this.#closed || !waiter.onAcquired(connection, connection.destination, address)) this.onIdle(connection);
    });
  }

  /** The identity may have changed while the handshake ran: what holds for open connections holds for one that has just been opened. */
  #changedMeanwhile(ours: OurIdentity, connection: Http1ClientConnection): CountersignError | undefined {
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
    this.#connections.delete(connection);
    this.#options.deadlines.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
  }

  /** A new identity snapshot: idle connections of an older SVID close, and all whose peer is not covered any more end. */
  onIdentity(snapshot: IdentitySnapshot, fingerprint: string): void {
    for (const connection of this.#idle.splice(0)) {
      if (connection.svidFingerprint === fingerprint || connection.svidFingerprint === "") this.#idle.push(connection);
      else connection.close();
    }
    const nowMs = Date.now();
    for (const connection of this.#connections) connection.reverify(snapshot, nowMs);
  }

  /** Ends what runs on identities that are over: calls to a server whose SVID, or ours, has expired. */
  expire(nowMs: number): void {
    for (const connection of this.#connections) {
      if (connection.expiresMs <= nowMs) {
        connection.fail(
          new CountersignError("E_PEER_EXPIRED_OPEN", "the identity that opened the upstream connection expired"),
        );
      }
    }
  }

  /** Closes idle connections, and the others when their call ends. */
  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.close();
  }
}

/** A plaintext connection rests on no identity: no clock is read for it. */
function takesCalls({ validUntilMs }: Http1ClientConnection): boolean {
  return validUntilMs === Number.POSITIVE_INFINITY || validUntilMs > Date.now();
}
