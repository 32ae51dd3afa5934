import type { CallOutcome } from "../../core/call-outcome.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot } from "../../core/identity.ts";
import { drainLeadMs } from "../connection-life.ts";
import type { Dialed } from "./dial.ts";
import type { EndpointLoad } from "./endpoint-load.ts";
import type { OurIdentity } from "./pool-options.ts";

/** A connection that was dialled. */
export interface Connected {
  readonly dialed: Dialed;
  readonly address: string;
  /** What is counted of that address. */
  readonly load: EndpointLoad;
}

/** A connection that was dialled, with the identities that opened it. */
export interface PooledParts extends Connected {
  /** Fingerprint of our SVID that opened it, "" for plaintext. */
  readonly fingerprint: string;
  /** Wall clock from which it takes no new call. */
  readonly validUntilMs: number;
  /** Wall clock at which it is cut: the earlier of our SVID's and the peer's expiry. */
  readonly expiresMs: number;
}

/** What the pool needs to know about every connection, whatever it speaks: whose it is, and until when. */
export abstract class PooledConnection {
  readonly address: string;
  readonly load: EndpointLoad;
  readonly destination: CallOutcome["destination"];
  readonly svidFingerprint: string;
  readonly expiresMs: number;
  readonly #validUntilMs: number;
  readonly #verifyAgain: Dialed["verifyAgain"];

  constructor({ dialed, address, load, fingerprint, validUntilMs, expiresMs }: PooledParts) {
    const { peer } = dialed;
    this.address = address;
    this.load = load;
    this.destination = peer === undefined ? undefined : { spiffeId: peer.spiffeId, serial: peer.serial };
    this.svidFingerprint = fingerprint;
    this.expiresMs = expiresMs;
    this.#validUntilMs = validUntilMs;
    this.#verifyAgain = dialed.verifyAgain;
  }

  abstract get closed(): boolean;

  /** Ends the connection and its calls with this error. */
  abstract fail(error: CountersignError): void;

  /** Takes no new call; closes once the last has ended, at once where there is none. */
  abstract close(): void;

  /** Whether the identities that opened it may still carry a new call. A plaintext connection rests on none: no clock is read for it. */
  get takesCalls(): boolean {
    return this.#validUntilMs === Number.POSITIVE_INFINITY || this.#validUntilMs > Date.now();
  }

  /** Whether our SVID of this fingerprint opened it, or none: plaintext. */
  isCurrent(fingerprint: string): boolean {
    return this.svidFingerprint === fingerprint || this.svidFingerprint === "";
  }

  /** A new bundle or revocation list: a connection whose peer it no longer covers ends, also in the middle of a call. */
  reverify(snapshot: IdentitySnapshot, nowMs: number): void {
    const problem = this.#verifyAgain?.(snapshot, nowMs);
    if (problem !== undefined) this.fail(new CountersignError("E_PEER_NO_LONGER_TRUSTED", problem.message));
  }
}

/** Whether a connection that ended with this error says something against its server: what our own side ended does not. */
export function isServersFault({ code }: CountersignError): boolean {
  return code === "E_UPSTREAM_CLOSED" || code === "E_UPSTREAM_PROTOCOL" || code === "E_UPSTREAM_TIMEOUT";
}

/** Whose a new connection is, and until when. */
export function pooledParts(ours: OurIdentity | undefined, { dialed, address, load }: Connected): PooledParts {
  if (dialed.peer === undefined || ours === undefined) {
    return {
      dialed,
      address,
      load,
      fingerprint: "",
      validUntilMs: Number.POSITIVE_INFINITY,
      expiresMs: Number.POSITIVE_INFINITY,
    };
  }
  const expiresMs = Math.min(dialed.peer.validUntilMs, ours.svid.notAfterMs);
  // the server drains at its lead; leaving a little earlier spares the race
  const validUntilMs = expiresMs - drainLeadMs(expiresMs - Date.now()) * 1.25;
  return { dialed, address, load, fingerprint: ours.svid.fingerprint, validUntilMs, expiresMs };
}
