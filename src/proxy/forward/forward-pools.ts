import type { MeshHost } from "../../config/sidecar-config.ts";
import type { Permit } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot } from "../../core/identity.ts";
import type { Deadlines } from "../deadlines.ts";
import type { OutgoingRequest } from "../http-streams.ts";
import { monotonicMs } from "../monotonic.ts";
import type { CallLimits } from "../upstream/call-limits.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import type { HttpPool, PoolWaiter } from "../upstream/http-pool.ts";
import type { PoolOptions, PoolTuning } from "../upstream/pool-options.ts";
import { ReachRace } from "../upstream/reach-race.ts";
import { reachTcp } from "../upstream/reach-tcp.ts";
import type { ReachedTcp } from "../upstream/reached-tcp.ts";
import { RetryBudget } from "../upstream/retry-budget.ts";
import type { CallUpstream, UpstreamTuning } from "../upstream/upstream.ts";
import { endpointStatus, MOST_SHOWN, type UpstreamStatus } from "../upstream/upstream-status.ts";
import type { Destination } from "./destination.ts";
import type { DestinationAddresses } from "./destination-addresses.ts";
import { type AddressMember, type DestinationLoads, nextAddress } from "./destination-loads.ts";

/** What a listener's pools are made by: one address and the name that it was found by, how it fares, and who must be there. */
export type MakeForwardPool = (
  to: PoolTuning & Pick<PoolOptions, "endpoint" | "serverName" | "load" | "counts">,
  mesh: MeshHost | undefined,
) => HttpPool;

/** Asked with each address before a connection to it is used for the call: policy may look at it. */
export type JudgeAddress = (address: string) => CountersignError | undefined;

interface Reached {
  readonly host: string;
  readonly acquired: Parameters<PoolWaiter["onAcquired"]>;
}

/** Pools that are kept; beyond it the one that was made first goes. */
const MOST_POOLS = 256;

export interface ForwardPoolsParts {
  readonly addresses: DestinationAddresses;
  readonly loads: DestinationLoads;
  readonly limits: CallLimits;
  readonly tuning: UpstreamTuning;
  readonly deadlines: Deadlines;
  readonly make: MakeForwardPool;
}

/** The connections of an egress proxy, within one set of limits for all destinations. A pool is one destination at one address: a call never rides on a connection that was opened
 *  for another name, and what policy was told about the address is true of the connection. */
export class ForwardPools implements Pick<CallUpstream, "takeRetry" | "requestTimeoutMs" | "streamTimeoutMs"> {
  readonly #retries = new RetryBudget();
  readonly loads: DestinationLoads;
  readonly #addresses: DestinationAddresses;
  readonly #limits: CallLimits;
  readonly #make: MakeForwardPool;
  #tuning: UpstreamTuning;
  readonly #deadlines: Deadlines;
  readonly #pools = new Map<string, HttpPool>();
  /** Put out of use while calls were open on them. */
  readonly #retired = new Set<HttpPool>();
  #closed = false;

  constructor({ addresses, loads, limits, tuning, deadlines, make }: ForwardPoolsParts) {
    this.#addresses = addresses;
    this.loads = loads;
    this.#limits = limits;
    this.#tuning = tuning;
    this.#deadlines = deadlines;
    this.#make = make;
  }

  /** As HttpPool.acquire, for a destination: its addresses are found, held against the rules and against policy, and tried in turn, the next
   *  beside one that takes long. `only`: no others than these, which were found already, in this order. */
  acquire(
    destination: Destination,
    only: CheckedAddresses | undefined,
    judge: JudgeAddress,
    permit: Permit,
    fresh: boolean,
    request: OutgoingRequest,
    waiter: PoolWaiter,
  ): void {
    const full = this.#limits.whyFull("calls");
    if (full !== undefined) {
      waiter.onAcquireFailed(full);
      return;
    }
    if (!fresh) this.#retries.deposit();
    if (only !== undefined) {
      this.#reach(destination, only, judge, permit, fresh, request, waiter);
      return;
    }
    this.find(destination, (found) => {
      if (found instanceof CountersignError) {
        waiter.onAcquireFailed(found);
        return;
      }
      this.#reach(destination, this.loads.inOrder(destination, found), judge, permit, fresh, request, waiter);
    });
  }

  takeRetry(): boolean {
    return this.#retries.take();
  }

  get requestTimeoutMs(): number {
    return this.#tuning.requestTimeoutMs;
  }

  get streamTimeoutMs(): number {
    return this.#tuning.streamTimeoutMs;
  }

  /** As DestinationAddresses.find. Who has to wait for the answer counts as one that waits for a connection. */
  find(destination: Destination, done: (found: CheckedAddresses | CountersignError) => void): void {
    let state: "asked" | "waits" | "answered" | "turned away" = "asked";
    this.#addresses.find(destination, (found) => {
      if (state === "turned away") return;
      if (state === "waits") this.#limits.waited(found);
      state = "answered";
      done(found);
    });
    if (isAnswered(state)) return;
    const full = this.#limits.wait();
    state = full === undefined ? "waits" : "turned away";
    if (full !== undefined) done(full);
  }

  /** Reaches a destination for one TCP connection, at the first of these addresses that can be reached, the next beside one that takes long:
   *  in the mesh as reachTcp, outside it by a connection without TLS of ours. `done` is called once, with the address that was reached or tried
   *  last, and returns false if nobody wants the connection. */
  connect(
    destination: Destination,
    addresses: CheckedAddresses,
    permit: Permit,
    done: (result: ReachedTcp | CountersignError, at: AddressMember) => boolean,
  ): void {
    const members = this.loads.membersOf(destination, addresses);
    let at = members[0] as AddressMember;
    const full = this.#limits.whyFull("connections") ?? this.#limits.wait();
    if (full !== undefined) {
      done(full, at);
      return;
    }
    const race = new ReachRace<AddressMember, { readonly at: AddressMember; readonly reached: ReachedTcp }>({
      deadlines: this.#deadlines,
      next: (tried) => members.find((member) => !tried.includes(member)),
      reach: (member, answer) => {
        // outside the mesh nothing of it is shared: no pool has to be kept
        const { mesh } = destination;
        const pool =
          mesh === undefined ? this.#makePool(destination, member.host) : this.#pool(destination, member.host);
        reachTcp(pool, permit, "", (result) => {
          if (!(result instanceof CountersignError)) return answer({ at: member, reached: result });
          at = member;
          return answer(result);
        });
      },
      done: (result) => {
        this.#limits.waited(result);
        return result instanceof CountersignError ? done(result, at) : done(result.reached, result.at);
      },
    });
    race.start(new CountersignError("E_EGRESS_RESOLVE", `${destination.host} has no address`));
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
    const all = this.loads.membersOf(destination, found);
    const hasFailed = ({ load }: AddressMember): boolean => load.address === waiter.failedAt;
    const members =
      waiter.failedAt === undefined ? all : [...all.filter((one) => !hasFailed(one)), ...all.filter(hasFailed)];
    const refused: { error: CountersignError | undefined } = { error: undefined };
    const first = nextAddress(members, [], judge, refused);
    if (first !== undefined && this.#pool(destination, first.host).take(permit, fresh, request, waiter)) return;
    const full = this.#limits.wait();
    if (full !== undefined) {
      waiter.onAcquireFailed(full);
      return;
    }
    const race = new ReachRace<AddressMember, Reached>({
      deadlines: this.#deadlines,
      next: (tried) => (tried.length === 0 ? first : nextAddress(members, tried, judge, refused)),
      reach: ({ host }, done) =>
        this.#pool(destination, host).acquire(permit, fresh, request, {
          onAcquired: (...acquired) => done({ host, acquired }),
          onAcquireFailed: (error) => void done(error),
        }),
      done: (result) => {
        this.#limits.waited(result);
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

  #pool(destination: Destination, address: string): HttpPool {
    const key = keyOf(destination, address);
    const known = this.#pools.get(key);
    if (known !== undefined) return known;
    const [oldest] = this.#pools.keys();
    if (this.#pools.size >= MOST_POOLS && oldest !== undefined) this.#retire(oldest);
    const made = this.#makePool(destination, address);
    if (this.#closed) made.close();
    this.#pools.set(key, made);
    return made;
  }

  #makePool(destination: Destination, address: string): HttpPool {
    const { host, port, mesh } = destination;
    const to = { load: this.loads.of(destination, address), counts: this.#limits.counts };
    return this.#make(
      { ...this.#tuning, ...to, endpoint: { kind: "tcp", host: address, port }, serverName: host },
      mesh,
    );
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

  get status(): UpstreamStatus {
    const nowMs = monotonicMs();
    const { counts, limited } = this.#limits;
    const endpoints = this.loads.notable(MOST_SHOWN).map(({ destination, host, load }) => {
      const name = destination.isAddress ? undefined : destination.host;
      return endpointStatus(load, name, this.#pools.get(keyOf(destination, host))?.size ?? 0, nowMs);
    });
    return { ...counts, limited, endpoints, destinations: this.loads.totals, problems: [] };
  }

  onIdentity(snapshot: IdentitySnapshot, fingerprint: string): void {
    for (const pool of this.#all()) pool.onIdentity(snapshot, fingerprint);
  }

  /** Other limits from now on. What is open stays. */
  retune(tuning: UpstreamTuning): void {
    this.#tuning = tuning;
    this.#limits.retune(tuning);
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

function keyOf({ host, port }: Destination, address: string): string {
  return `${host} ${port} ${address}`;
}

/** Read anew: a callback changes it. */
function isAnswered(state: string): boolean {
  return state === "answered";
}
