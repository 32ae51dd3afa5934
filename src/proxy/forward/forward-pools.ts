import type { Address, MeshHost } from "../../config/sidecar-config.ts";
import type { Permit } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot } from "../../core/identity.ts";
import type { Deadlines } from "../deadlines.ts";
import type { OutgoingRequest } from "../http-streams.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import type { HttpPool, PoolWaiter } from "../upstream/http-pool.ts";
import type { PoolOptions, PoolTuning } from "../upstream/pool-options.ts";
import { ReachRace } from "../upstream/reach-race.ts";
import { RetryBudget } from "../upstream/retry-budget.ts";
import type { Destination } from "./destination.ts";
import type { DestinationAddresses } from "./destination-addresses.ts";
import { type AddressMember, type DestinationLoads, nextAddress } from "./destination-loads.ts";

/** What a listener's pools are made by: one address, the name that it was found by, who must be there, and how it fares. */
export type MakeForwardPool = (
  endpoint: Address,
  serverName: string,
  mesh: MeshHost | undefined,
  to: Pick<PoolOptions, "load" | "counts">,
) => HttpPool;

/** Asked with each address before a connection to it is used for the call: policy may look at it. */
export type JudgeAddress = (address: string) => CountersignError | undefined;

interface Reached {
  readonly host: string;
  readonly acquired: Parameters<PoolWaiter["onAcquired"]>;
}

/** Pools that are kept; beyond it the one that was made first goes. */
const MOST_POOLS = 256;

/** The HTTP connections of an egress proxy. A pool is one destination at one address: a call never rides on a connection that was opened
 *  for another name, and what policy was told about the address is true of the connection. */
export class ForwardPools {
  readonly retries = new RetryBudget();
  readonly loads: DestinationLoads;
  readonly #addresses: DestinationAddresses;
  readonly #make: MakeForwardPool;
  readonly #deadlines: Deadlines;
  readonly #pools = new Map<string, HttpPool>();
  /** Put out of use while calls were open on them. */
  readonly #retired = new Set<HttpPool>();
  #closed = false;

  constructor(addresses: DestinationAddresses, loads: DestinationLoads, deadlines: Deadlines, make: MakeForwardPool) {
    this.#addresses = addresses;
    this.loads = loads;
    this.#deadlines = deadlines;
    this.#make = make;
  }

  /** As HttpPool.acquire, for a destination: its addresses are found, held against the rules and against policy, and tried in turn, the next
   *  beside one that takes long. */
  acquire(
    destination: Destination,
    judge: JudgeAddress,
    permit: Permit,
    fresh: boolean,
    request: OutgoingRequest,
    waiter: PoolWaiter,
  ): void {
    if (!fresh) this.retries.deposit();
    this.#addresses.find(destination, (found) => {
      if (found instanceof CountersignError) {
        waiter.onAcquireFailed(found);
        return;
      }
      this.#reach(destination, this.loads.inOrder(destination, found), judge, permit, fresh, request, waiter);
    });
  }

  #reach(
    destination: Destination,
    found: CheckedAddresses,
    judge: JudgeAddress,
    permit: Permit,
    fresh: boolean,
    request: OutgoingRequest,
    waiter: PoolWaiter,
  ): void {
    const all = found.map((host) => ({ host, load: this.loads.of(destination, host) }));
    const hasFailed = ({ load }: AddressMember): boolean => load.address === waiter.failedAt;
    const members =
      waiter.failedAt === undefined ? all : [...all.filter((one) => !hasFailed(one)), ...all.filter(hasFailed)];
    const refused: { error: CountersignError | undefined } = { error: undefined };
    const first = nextAddress(members, [], judge, refused);
    if (first !== undefined && this.#pool(destination, first.host).take(permit, fresh, request, waiter)) return;
    const race = new ReachRace<AddressMember, Reached>({
      deadlines: this.#deadlines,
      next: (tried) => (tried.length === 0 ? first : nextAddress(members, tried, judge, refused)),
      reach: ({ host }, done) =>
        this.#pool(destination, host).acquire(permit, fresh, request, {
          onAcquired: (...acquired) => done({ host, acquired }),
          onAcquireFailed: (error) => void done(error),
        }),
      done: (result) => {
        if (result instanceof CountersignError) {
          waiter.onAcquireFailed(result);
          return true;
        }
        // said last of the address that is used
        const problem = judge(result.host);
        if (problem === undefined) return waiter.onAcquired(...result.acquired);
        waiter.onAcquireFailed(problem);
        return false;
      },
    });
    race.start(refused.error ?? new CountersignError("E_EGRESS_RESOLVE", `${destination.host} has no address`));
  }

  /** A stream of a shared connection to a destination in the mesh, as HttpPool.tunnel. */
  tunnel(destination: Destination, address: string, permit: Permit, done: Parameters<HttpPool["tunnel"]>[2]): void {
    this.#pool(destination, address).tunnel(permit, "", done);
  }

  #pool(destination: Destination, address: string): HttpPool {
    const { host, port, mesh } = destination;
    const key = `${host} ${port} ${address}`;
    const known = this.#pools.get(key);
    if (known !== undefined) return known;
    const [oldest] = this.#pools.keys();
    if (this.#pools.size >= MOST_POOLS && oldest !== undefined) this.#retire(oldest);
    const to = { load: this.loads.of(destination, address), counts: this.loads.counts };
    const made = this.#make({ kind: "tcp", host: address, port }, host, mesh, to);
    if (this.#closed) made.close();
    this.#pools.set(key, made);
    return made;
  }

  #retire(key: string): void {
    const pool = this.#pools.get(key);
    if (pool === undefined) return;
    this.#pools.delete(key);
    pool.close();
    for (const one of this.#retired) if (one.size === 0) this.#retired.delete(one);
    if (pool.size > 0) this.#retired.add(pool);
  }

  *#all(): Generator<HttpPool> {
    yield* this.#pools.values();
    yield* this.#retired;
  }

  get size(): number {
    let sum = 0;
    for (const pool of this.#all()) sum += pool.size;
    return sum;
  }

  onIdentity(snapshot: IdentitySnapshot, fingerprint: string): void {
    for (const pool of this.#all()) pool.onIdentity(snapshot, fingerprint);
  }

  retune(tuning: PoolTuning): void {
    for (const pool of this.#all()) pool.retune(tuning);
  }

  end(problem: CountersignError): void {
    for (const pool of this.#all()) pool.end(problem);
  }

  expire(nowMs: number): void {
    for (const pool of this.#all()) pool.expire(nowMs);
  }

  close(): void {
    this.#closed = true;
    for (const pool of this.#all()) pool.close();
  }
}
