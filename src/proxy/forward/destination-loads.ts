import { destinationText } from "../../core/egress-target.ts";
import type { CountersignError } from "../../core/errors.ts";
import { monotonicMs } from "../monotonic.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { chooseEndpoint } from "../upstream/choose-endpoint.ts";
import { addressText } from "../upstream/dial.ts";
import { Ejection } from "../upstream/ejection.ts";
import { EndpointLoad, type LoadObserver, type UpstreamCounts } from "../upstream/endpoint-load.ts";
import type { DestinationsStatus } from "../upstream/upstream-status.ts";
import type { Destination } from "./destination.ts";

/** Destinations whose health is remembered; beyond it the one that was met first is forgotten. */
const MOST_DESTINATIONS = 1024;

/** An address was put out of use for a while. */
export type OnEjected = (address: string, forMs: number, failures: number) => void;

interface Known {
  /** By host, of what the name stood for last. */
  loads: Map<string, EndpointLoad>;
  readonly observer: LoadObserver;
  readonly destination: Destination;
}

/** An address of a destination that was met. */
export interface KnownAddress extends AddressMember {
  readonly destination: Destination;
}

/** How the addresses of an egress listener's destinations fare, for its connections and tunnels together. */
export class DestinationLoads {
  /** Of all destinations together. */
  readonly #counts: UpstreamCounts;
  readonly #onEjected: OnEjected;
  readonly #random: () => number;
  readonly #known = new Map<string, Known>();
  #failures = 0;
  #ejections = 0;

  /** @param random uniform in [0, 1) */
  constructor(counts: UpstreamCounts, onEjected: OnEjected, random: () => number = Math.random) {
    this.#counts = counts;
    this.#onEjected = onEjected;
    this.#random = random;
  }

  /** The addresses that a destination stands for now: first the one that load and health choose, then the others in the resolver's order, those
   *  behind that are ejected. */
  inOrder(destination: Destination, found: CheckedAddresses): CheckedAddresses {
    const known = this.#knownOf(destination);
    known.loads = new Map(found.map((host) => [host, this.#loadOf(known, destination, host)]));
    if (found.length === 1) return found;
    const nowMs = monotonicMs();
    const members = Array.from(known.loads, ([host, load]) => ({ host, load }));
    const chosen = chooseEndpoint(members, undefined, nowMs, this.#random);
    if (chosen === undefined) return found;
    const others = members.filter((one) => one !== chosen);
    const isOut = ({ load }: AddressMember): boolean => load.ejectedUntilMs > nowMs;
    const ordered = [...others.filter((one) => !isOut(one)), ...others.filter(isOut)];
    return [chosen.host, ...ordered.map(({ host }) => host)];
  }

  /** All of them together. */
  get totals(): DestinationsStatus {
    const nowMs = monotonicMs();
    let known = 0;
    let ejected = 0;
    for (const { load } of this.#all()) {
      known++;
      if (load.ejectedUntilMs > nowMs) ejected++;
    }
    return { known, ejected, failures: this.#failures, ejections: this.#ejections };
  }

  /** At most `most` addresses with what their destinations are called: those in trouble first, then the busiest, then the newest. */
  notable(most: number): readonly KnownAddress[] {
    const nowMs = monotonicMs();
    const trouble = ({ load }: KnownAddress): number =>
      load.ejectedUntilMs > nowMs ? 2 : load.failuresInRow > 0 ? 1 : 0;
    return [...this.#all()]
      .reverse()
      .sort((one, other) => trouble(other) - trouble(one) || other.load.outstanding - one.load.outstanding)
      .slice(0, most);
  }

  *#all(): Generator<KnownAddress> {
    for (const { destination, loads } of this.#known.values()) {
      for (const [host, load] of loads) yield { destination, host, load };
    }
  }

  /** Of one of its addresses. */
  of(destination: Destination, host: string): EndpointLoad {
    return this.#keep(this.#knownOf(destination), destination, host);
  }

  /** Of several of its addresses, in their order. */
  membersOf(destination: Destination, hosts: CheckedAddresses): readonly AddressMember[] {
    const known = this.#knownOf(destination);
    return hosts.map((host) => ({ host, load: this.#keep(known, destination, host) }));
  }

  #keep(known: Known, destination: Destination, host: string): EndpointLoad {
    const load = this.#loadOf(known, destination, host);
    known.loads.set(host, load);
    return load;
  }

  #knownOf(destination: Destination): Known {
    const key = destinationText(destination);
    const before = this.#known.get(key);
    if (before !== undefined) return before;
    const [oldest] = this.#known.keys();
    if (this.#known.size >= MOST_DESTINATIONS && oldest !== undefined) this.#known.delete(oldest);
    const ejection = new Ejection({
      loads: () => Array.from(known.loads.values()),
      nowMs: monotonicMs,
      onEjected: ({ address, failures }, forMs) => {
        this.#ejections++;
        this.#onEjected(address, forMs, failures);
      },
    });
    const observer: LoadObserver = {
      onFailure: (load) => {
        this.#failures++;
        ejection.onFailure(load);
      },
    };
    const known: Known = { destination, loads: new Map(), observer };
    this.#known.set(key, known);
    return known;
  }

  #loadOf({ loads, observer }: Known, { port }: Destination, host: string): EndpointLoad {
    return loads.get(host) ?? new EndpointLoad(addressText({ kind: "tcp", host, port }), this.#counts, observer);
  }
}

/** An address of a destination, to be raced for. */
export interface AddressMember {
  readonly host: string;
  readonly load: EndpointLoad;
}

/** The next address of those in order that was not tried and that `judge` lets through; why the first other one was not is kept in `refused`. */
export function nextAddress(
  members: readonly AddressMember[],
  tried: readonly AddressMember[],
  judge: (host: string) => CountersignError | undefined,
  refused: { error: CountersignError | undefined },
): AddressMember | undefined {
  for (const member of members) {
    if (tried.includes(member)) continue;
    const problem = judge(member.host);
    if (problem === undefined) return member;
    refused.error ??= problem;
  }
  return undefined;
}
