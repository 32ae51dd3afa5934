import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot } from "../../core/identity.ts";
import type { HasDeadline } from "../deadlines.ts";
import { addressText, dial } from "./dial.ts";
import { Http2ClientConnection } from "./http2-client-connection.ts";
import type { OurIdentity, PoolOptions, PoolTuning } from "./pool-options.ts";
import type { Connected, PooledConnection } from "./pooled-connection.ts";
import { ProtocolMemory } from "./protocol-memory.ts";

const NO_ALPN: readonly string[] = [];

/** All connections of a pool, whatever they speak: dialled, counted, and ended with the identities that opened them. */
export class PoolConnections {
  readonly memory = new ProtocolMemory();
  #options: PoolOptions;
  readonly #open = new Set<PooledConnection>();

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get options(): PoolOptions {
    return this.#options;
  }

  /** Other limits from now on. What is open stays. */
  retune({ limits, maxConnections, connectTimeoutMs, handshakeTimeoutMs, idleMs }: PoolTuning): void {
    this.#options = { ...this.#options, limits, maxConnections, connectTimeoutMs, handshakeTimeoutMs, idleMs };
  }

  get size(): number {
    return this.#open.size;
  }

  /** Who we are on a connection that is made now, or why there is none; undefined: plaintext, which needs no identity. */
  get ours(): OurIdentity | CountersignError | undefined {
    const { mesh, identity } = this.#options;
    return mesh === undefined ? undefined : identity();
  }

  /** Why one more can't be made; undefined: it can. */
  whyFull(): CountersignError | undefined {
    const { counts, maxConnections } = this.#options;
    return counts.connections >= maxConnections
      ? new CountersignError("E_UPSTREAM_LIMIT", `${maxConnections} upstream connections are open already`)
      : undefined;
  }

  /** Makes one, which counts until its caller says that it is closed, or this that it can't be made. `alpn`: names to offer, by default none. A peer
   *  that refuses them is dialled without, now and later: it may be a plain TLS server. */
  dial(
    ours: OurIdentity | undefined,
    alpn: readonly string[] = NO_ALPN,
    done: (connected: Connected | CountersignError) => void,
  ): void {
    const options = this.#options;
    const { endpoint, mesh, counts, load } = options;
    const offer = (offered: readonly string[]): void => {
      const identity =
        mesh === undefined || ours === undefined ? undefined : { ...ours, expected: mesh.expected, alpn: offered };
      dial({ ...options, address: endpoint, identity }, (result) => {
        if (result.kind === "connected") {
          done({ dialed: result.dialed, address: addressText(endpoint), load });
        } else if (result.noAlpn && !this.memory.refusesAlpn) {
          this.memory.noteRefusesAlpn();
          offer(NO_ALPN);
        } else {
          counts.connections--;
          load.failed();
          done(result.error);
        }
      });
    };
    counts.connections++;
    offer(this.memory.refusesAlpn ? NO_ALPN : alpn);
  }

  add(connection: PooledConnection & HasDeadline): void {
    this.#open.add(connection);
    this.#options.deadlines.add(connection);
  }

  remove(connection: PooledConnection & HasDeadline): void {
    if (this.#open.delete(connection)) this.#options.counts.connections--;
    this.#options.deadlines.delete(connection);
  }

  /** The identity may have changed while the handshake ran: what holds for open connections holds for one that has just been opened. */
  changedMeanwhile(ours: OurIdentity | undefined, connection: PooledConnection): CountersignError | undefined {
    if (ours === undefined) return undefined;
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

  /** A new identity snapshot: connections whose peer is not covered any more end. */
  reverify(snapshot: IdentitySnapshot): void {
    const nowMs = Date.now();
    for (const connection of this.#open) connection.reverify(snapshot, nowMs);
  }

  /** We have no identity any more: what was opened with it ends. */
  end(problem: CountersignError): void {
    for (const connection of this.#open) connection.fail(problem);
  }

  /** Ends what runs on identities that are over: calls to a server whose SVID, or ours, has expired. */
  expire(nowMs: number): void {
    for (const connection of this.#open) {
      if (connection.expiresMs <= nowMs) {
        connection.fail(
          new CountersignError("E_PEER_EXPIRED_OPEN", "the identity that opened the upstream connection expired"),
        );
      } else if (!connection.takesCalls && connection instanceof Http2ClientConnection) connection.close();
    }
  }
}
