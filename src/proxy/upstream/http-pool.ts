import type { CallOutcome } from "../../core/call-outcome.ts";
import type { Permit } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot } from "../../core/identity.ts";
import type { OutgoingRequest, UpstreamStream } from "../http-streams.ts";
import type { Http1ClientConnection } from "./http1-client-connection.ts";
import type { Http2ClientConnection } from "./http2-client-connection.ts";
import { OwnConnections } from "./own-connections.ts";
import { PoolConnections } from "./pool-connections.ts";
import type { PoolOptions, PoolTuning } from "./pool-options.ts";
import { type ReachedTcp, reachedByDial } from "./reached-tcp.ts";
import { NOT_HTTP2, SharedConnections } from "./shared-connections.ts";
import type { SharedWaiter } from "./shared-dials.ts";

/** Who waits for a connection. */
export interface PoolWaiter {
  /** Where the call has failed before, as records name the address. */
  readonly failedAt?: string | undefined;
  /** Returns false if the connection is not wanted any more. */
  onAcquired(upstream: UpstreamStream, destination: CallOutcome["destination"], address: string): boolean;
  onAcquireFailed(error: CountersignError): void;
}

/** Connections of one listener to one address. The pool belongs to its listener, and inside it a connection is found only by the
 *  fingerprint of the SVID that opened it: a call never rides on another identity, nor on an older one of ours. */
export class HttpPool {
  readonly #connections: PoolConnections;
  readonly #own: OwnConnections;
  readonly #shared: SharedConnections;

  constructor(options: PoolOptions) {
    this.#connections = new PoolConnections(options);
    this.#own = new OwnConnections(this.#connections);
    this.#shared = new SharedConnections(this.#connections, this.#own);
  }

  get size(): number {
    return this.#connections.size;
  }

  /** Other limits from now on. What is open stays. */
  retune(tuning: PoolTuning): void {
    this.#connections.retune(tuning);
  }

  /** Gives the waiter a connection if there is one now that fits; else false, and `acquire` is to be asked. Only a call that holds a Permit
   *  may ask. */
  take(_permit: Permit, fresh: boolean, request: OutgoingRequest, waiter: PoolWaiter): boolean {
    const { ours } = this.#connections;
    if (ours instanceof CountersignError) return false;
    const fingerprint = ours?.svid.fingerprint ?? "";
    if (this.#wantsShared(request)) return this.#takeShared(fingerprint, request, waiter);
    return !fresh && this.#takeOwn(fingerprint, waiter);
  }

  /** Gives the waiter a connection, now or later. Only a call that holds a Permit may ask. `fresh`: not one that was used before. */
  acquire(permit: Permit, fresh: boolean, request: OutgoingRequest, waiter: PoolWaiter): void {
    const { ours } = this.#connections;
    if (ours instanceof CountersignError) {
      waiter.onAcquireFailed(ours);
      return;
    }
    const fingerprint = ours?.svid.fingerprint ?? "";
    if (this.#wantsShared(request)) {
      if (this.#takeShared(fingerprint, request, waiter)) return;
      // a peer that takes no upgrade on HTTP/2 gets HTTP/1.1 for it
      const refused = request.upgrade !== undefined && this.#shared.refusesUpgrades(fingerprint);
      if (!refused && !this.#isHttp1Now) {
        this.#shared.wait(ours, this.#callWaiting(permit, request, waiter));
        return;
      }
      if (request.needsHttp2 && ours === undefined) {
        waiter.onAcquireFailed(NOT_HTTP2);
        return;
      }
    }
    if (!fresh && this.#takeOwn(fingerprint, waiter)) return;
    this.#own.dial(ours, (result) => {
      if (result instanceof CountersignError) waiter.onAcquireFailed(result);
      // also from a pool that has been closed meanwhile: who waits for it is served, or would wait for ever
      else this.#giveOwn(result, waiter);
    });
  }

  #wantsShared(request: OutgoingRequest): boolean {
    const { mesh, plaintext } = this.#connections.options;
    if (mesh !== undefined) return true;
    switch (plaintext) {
      case "http1":
        return false;
      case "http2":
        return true;
      case "asked":
        return request.version === 2;
    }
  }

  get #isHttp1Now(): boolean {
    return this.#connections.options.plaintext !== "http2" && this.#connections.memory.isHttp1;
  }

  #takeOwn(fingerprint: string, waiter: PoolWaiter): boolean {
    const found = this.#own.take(fingerprint);
    if (found === undefined) return false;
    this.#giveOwn(found, waiter);
    return true;
  }

  #giveOwn(connection: Http1ClientConnection, waiter: PoolWaiter): void {
    if (!waiter.onAcquired(connection, connection.destination, connection.address)) this.#own.onIdle(connection);
  }

  #takeShared(fingerprint: string, request: OutgoingRequest, waiter: PoolWaiter): boolean {
    const found = this.#shared.forCall(fingerprint, request.upgrade !== undefined);
    if (found === undefined) return false;
    waiter.onAcquired(found.place(), found.destination, found.address);
    return true;
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
    const { options, memory } = this.#connections;
    if (options.mesh === undefined || memory.takesNoTunnels) {
      done(undefined);
      return;
    }
    const { ours } = this.#connections;
    if (ours instanceof CountersignError) {
      done(ours);
      return;
    }
    const serve = (connection: Http2ClientConnection): void =>
      done({
        transport: connection.openTunnel(inbound),
        destination: connection.destination,
        address: connection.address,
        verifyAgain: undefined,
        expiresMs: connection.expiresMs,
      });
    const open = this.#shared.forTunnel(ours?.svid.fingerprint ?? "");
    if (open !== undefined) {
      serve(open);
      return;
    }
    this.#shared.wait(ours, {
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
    const { ours } = this.#connections;
    if (ours instanceof CountersignError) {
      done(ours);
      return;
    }
    const full = this.#connections.whyFull();
    if (full !== undefined) {
      done(full);
      return;
    }
    const { counts, load } = this.#connections.options;
    this.#connections.dial(ours, undefined, (connected) => {
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

  /** A new identity snapshot: connections of an older SVID take no new call, and all whose peer is not covered any more end. */
  onIdentity(snapshot: IdentitySnapshot, fingerprint: string): void {
    this.#own.onIdentity(fingerprint);
    this.#shared.onIdentity(fingerprint);
    this.#connections.reverify(snapshot);
  }

  /** We have no identity any more: what was opened with it ends. */
  end(problem: CountersignError): void {
    this.#connections.end(problem);
  }

  /** Ends what runs on identities that are over: calls to a server whose SVID, or ours, has expired. */
  expire(nowMs: number): void {
    this.#connections.expire(nowMs);
  }

  /** Closes idle connections, and the others when their calls end. */
  close(): void {
    this.#own.close();
    this.#shared.close();
  }
}
