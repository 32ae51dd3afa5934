import type { Address } from "../../config/sidecar-config.ts";
import type { Permit } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot } from "../../core/identity.ts";
import type { OutgoingRequest, UpstreamStream } from "../http-streams.ts";
import { monotonicMs } from "../monotonic.ts";
import { type CallLimitOptions, CallLimits } from "./call-limits.ts";
import { chooseEndpoint } from "./choose-endpoint.ts";
import { addressText } from "./dial.ts";
import { Ejection } from "./ejection.ts";
import { EndpointLoad } from "./endpoint-load.ts";
import { HttpPool, type PoolWaiter } from "./http-pool.ts";
import type { NameTtl } from "./name-ttl.ts";
import type { PoolOptions, PoolTuning } from "./pool-options.ts";
import { ReachRace } from "./reach-race.ts";
import { reachTcp } from "./reach-tcp.ts";
import type { ReachedTcp } from "./reached-tcp.ts";
import { keyOf, type ResolvedAddress, ResolvedEndpoints } from "./resolved-endpoints.ts";
import { RetryBudget } from "./retry-budget.ts";
import type { ResolveName } from "./system-resolve.ts";
import { endpointStatus, type UpstreamStatus } from "./upstream-status.ts";

/** What happens to an upstream that people want to hear of. */
export interface UpstreamEvents {
  onEjected(address: string, forMs: number, failures: number): void;
  /** A name has no address now (its last good ones stay), or has again. */
  onResolve(name: string, problem: CountersignError | undefined): void;
}

export interface UpstreamOptions
  extends Omit<PoolOptions, "endpoint" | "serverName" | "load" | "counts">,
    CallLimitOptions {
  readonly endpoints: readonly [Address, ...Address[]];
  readonly resolve: ResolveName;
  readonly ttlOf: NameTtl;
  /** A whole call, from its head to the end of its response; 0: no limit. Not for upgrades. */
  readonly requestTimeoutMs: number;
  /** An open call without a byte either way; 0: no limit. Not for upgrades. */
  readonly streamTimeoutMs: number;
  readonly events: UpstreamEvents;
}

/** Of an upstream's options what a reload may change while it is open. */
export type UpstreamTuning = PoolTuning &
  Pick<UpstreamOptions, "maxPending" | "maxRequests" | "requestTimeoutMs" | "streamTimeoutMs">;

/** Where a listener's calls go. */
export interface CallUpstream {
  /** Gives the waiter a connection, now or later. Only a call that holds a Permit may ask. `fresh`: a call that was tried before: not on a
   *  connection that was used before, and rather not at the address where it failed. */
  acquire(permit: Permit, fresh: boolean, request: OutgoingRequest, waiter: PoolWaiter): void;
  /** Whether a call that failed may be tried again now; if so it counts. Whether it may be sent again at all is for the caller to know. */
  takeRetry(): boolean;
  readonly requestTimeoutMs: number;
  readonly streamTimeoutMs: number;
}

/** An address with its connections. */
interface Member {
  readonly resolved: ResolvedAddress;
  readonly load: EndpointLoad;
  readonly pool: HttpPool;
}

type Acquired = readonly [upstream: UpstreamStream, destination: ReachedTcp["destination"], address: string];

/** A listener's upstream: its endpoints by their addresses, each with a pool of its own, chosen by load and health. Where there is one address
 *  a call costs what the pool alone would cost. */
export class Upstream implements CallUpstream {
  #options: UpstreamOptions;
  readonly #endpoints: ResolvedEndpoints;
  readonly #ejection: Ejection;
  readonly #limits: CallLimits;
  readonly #budget = new RetryBudget();
  #members: readonly Member[] = [];
  /** Set where there is no choice. */
  #only: Member | undefined;
  /** Of addresses that are gone and still have calls. */
  readonly #retired = new Set<HttpPool>();
  #closed = false;

  constructor(options: UpstreamOptions) {
    const { endpoints, resolve, ttlOf, deadlines, events } = options;
    this.#options = options;
    this.#limits = new CallLimits(options);
    this.#ejection = new Ejection({
      loads: () => this.#members.map(({ load }) => load),
      nowMs: monotonicMs,
      onEjected: ({ address, failures }, forMs) => events.onEjected(address, forMs, failures),
    });
    this.#endpoints = new ResolvedEndpoints({
      endpoints,
      resolve,
      ttlOf,
      deadlines,
      onChange: (addresses) => this.#setAddresses(addresses),
      onProblem: (name, problem) => events.onResolve(name, problem),
    });
    this.#endpoints.start();
  }

  #setAddresses(addresses: readonly ResolvedAddress[]): void {
    const before = new Map(this.#members.map((member) => [keyOf(member.resolved), member]));
    this.#members = addresses.map((resolved) => {
      const key = keyOf(resolved);
      const known = before.get(key);
      before.delete(key);
      return known ?? this.#makeMember(resolved);
    });
    this.#only = this.#members.length === 1 ? this.#members[0] : undefined;
    // what DNS does not name any more gets no new call; those that are open end in peace
    for (const { pool } of before.values()) {
      pool.close();
      this.#retired.add(pool);
    }
  }

  #makeMember(resolved: ResolvedAddress): Member {
    const load = new EndpointLoad(addressText(resolved.address), this.#limits.counts, this.#ejection);
    const pool = new HttpPool({
      ...this.#options,
      endpoint: resolved.address,
      serverName: resolved.name,
      load,
      counts: this.#limits.counts,
    });
    return { resolved, load, pool };
  }

  acquire(permit: Permit, fresh: boolean, request: OutgoingRequest, waiter: PoolWaiter): void {
    const full = this.#limits.whyFull("calls");
    if (full !== undefined) {
      waiter.onAcquireFailed(full);
      return;
    }
    if (!fresh) this.#budget.deposit();
    const member = this.#only ?? this.#choose(fresh ? waiter.failedAt : undefined);
    if (member?.pool.take(permit, fresh, request, waiter) === true) return;
    this.#reach<Acquired>(
      member,
      (one, done) =>
        one.pool.acquire(permit, fresh, request, {
          onAcquired: (...acquired) => done(acquired),
          onAcquireFailed: (error) => void done(error),
        }),
      (result) => {
        if (!(result instanceof CountersignError)) return waiter.onAcquired(...result);
        waiter.onAcquireFailed(result);
        return true;
      },
    );
  }

  /** The upstream's side of a TCP connection: a stream of a shared connection to `inbound` where the other side is a sidecar of our kind, else
   *  a connection of its own. Only a call that holds a Permit may ask. */
  connect(permit: Permit, inbound: string, done: (reached: ReachedTcp | CountersignError) => void): void {
    const full = this.#limits.whyFull("connections");
    if (full !== undefined) {
      done(full);
      return;
    }
    this.#reach<ReachedTcp>(
      this.#only ?? this.#choose(undefined),
      ({ pool }, reached) => reachTcp(pool, permit, inbound, reached),
      (result) => {
        done(result);
        return true;
      },
    );
  }

  get requestTimeoutMs(): number {
    return this.#options.requestTimeoutMs;
  }

  get streamTimeoutMs(): number {
    return this.#options.streamTimeoutMs;
  }

  /** Other limits from now on. What is open stays. */
  retune(tuning: UpstreamTuning): void {
    this.#options = { ...this.#options, ...tuning };
    this.#limits.retune(tuning);
    for (const pool of this.#pools()) pool.retune(tuning);
  }

  takeRetry(): boolean {
    return this.#budget.take();
  }

  #choose(failedAt: string | undefined): Member | undefined {
    const avoid = failedAt === undefined ? undefined : ({ load }: Member): boolean => load.address === failedAt;
    const nowMs = monotonicMs();
    return (
      chooseEndpoint(this.#members, avoid, nowMs, Math.random) ??
      chooseEndpoint(this.#members, undefined, nowMs, Math.random)
    );
  }

  /** Begins with `first`, and goes on with the others. */
  #reach<T>(
    first: Member | undefined,
    reach: (member: Member, done: (result: T | CountersignError) => boolean) => void,
    done: (result: T | CountersignError) => boolean,
  ): void {
    const { deadlines } = this.#options;
    const full = this.#limits.wait();
    if (full !== undefined) {
      done(full);
      return;
    }
    const race = new ReachRace<Member, T>({
      deadlines,
      next: (tried) => (tried.length === 0 && first !== undefined ? first : this.#nextAfter(tried)),
      reach,
      done: (result) => {
        this.#limits.waited(result);
        return done(result);
      },
    });
    const begin = (): void => race.start(this.#endpoints.problem ?? NO_ADDRESS);
    if (this.#members.length > 0 || this.#closed) begin();
    else this.#endpoints.onceAnswered(begin);
  }

  /** One of the other family first: what is wrong with an address is often wrong with its family (RFC 8305 section 4). */
  #nextAfter(tried: readonly Member[]): Member | undefined {
    const last = tried.at(-1);
    const others = this.#members.filter((member) => !tried.includes(member));
    const isV6 = last !== undefined && isIpv6(last);
    const ofOtherFamily = last === undefined ? [] : others.filter((member) => isIpv6(member) !== isV6);
    const nowMs = monotonicMs();
    const chosen = chooseEndpoint(ofOtherFamily, undefined, nowMs, Math.random);
    if (chosen !== undefined && chosen.load.ejectedUntilMs <= nowMs) return chosen;
    return chooseEndpoint(others, undefined, nowMs, Math.random);
  }

  *#pools(): Generator<HttpPool> {
    for (const { pool } of this.#members) yield pool;
    yield* this.#retired;
  }

  /** Open connections that calls share or reuse. */
  get size(): number {
    let sum = 0;
    for (const pool of this.#pools()) sum += pool.size;
    return sum;
  }

  get status(): UpstreamStatus {
    const nowMs = monotonicMs();
    const { counts, limited } = this.#limits;
    const { pending, active, connections } = counts;
    const endpoints = this.#members.map(({ load, resolved, pool }) =>
      endpointStatus(load, resolved.name, pool.size, nowMs),
    );
    const problems = this.#endpoints.problems.map(({ problem }) => ({ code: problem.code, message: problem.message }));
    return { endpoints, connections, active, pending, limited, problems };
  }

  onIdentity(snapshot: IdentitySnapshot, fingerprint: string): void {
    for (const pool of this.#pools()) pool.onIdentity(snapshot, fingerprint);
  }

  end(problem: CountersignError): void {
    for (const pool of this.#pools()) pool.end(problem);
  }

  expire(nowMs: number): void {
    for (const pool of this.#retired) if (pool.size === 0) this.#retired.delete(pool);
    for (const pool of this.#pools()) pool.expire(nowMs);
  }

  /** Takes no new connection for later calls; those that are open end with their calls. */
  close(): void {
    this.#closed = true;
    this.#endpoints.close();
    for (const pool of this.#pools()) pool.close();
  }
}

const NO_ADDRESS = new CountersignError("E_UPSTREAM_RESOLVE", "the upstream's names have no address");

function isIpv6({ resolved: { address } }: Member): boolean {
  return address.kind === "tcp" && address.host.includes(":");
}
