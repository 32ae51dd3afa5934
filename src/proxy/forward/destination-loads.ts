import type { CountersignError } from "../../core/errors.ts";
import { monotonicMs } from "../monotonic.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { addressText } from "../upstream/dial.ts";
import { Ejection } from "../upstream/ejection.ts";
import { EndpointLoad, newCounts, type UpstreamCounts } from "../upstream/endpoint-load.ts";
import { type Destination, destinationText } from "./destination.ts";

/** Destinations whose health is remembered; beyond it the one that was met first is forgotten. */
const MOST_DESTINATIONS = 1024;

/** An address was put out of use for a while. */
export type OnEjected = (address: string, forMs: number, failures: number) => void;

interface Known {
  /** By host, of what the name stood for last. */
  loads: Map<string, EndpointLoad>;
  readonly ejection: Ejection;
}

/** How the addresses of an egress listener's destinations fare, for its connections and tunnels together. */
export class DestinationLoads {
  /** Of the whole listener: its limit of connections holds for all destinations together. */
  readonly counts: UpstreamCounts = newCounts();
  readonly #onEjected: OnEjected;
  readonly #known = new Map<string, Known>();

  constructor(onEjected: OnEjected) {
    this.#onEjected = onEjected;
  }

  /** The addresses that a destination stands for now, in the resolver's order, those behind that are ejected. */
  inOrder(destination: Destination, found: CheckedAddresses): CheckedAddresses {
    const known = this.#knownOf(destination);
    known.loads = new Map(found.map((host) => [host, this.#loadOf(known, destination, host)]));
    if (found.length === 1) return found;
    const nowMs = monotonicMs();
    const isOut = (host: string): boolean => (known.loads.get(host)?.ejectedUntilMs ?? 0) > nowMs;
    const [first, ...others] = [...found.filter((host) => !isOut(host)), ...found.filter(isOut)];
    return first === undefined ? found : [first, ...others];
  }

  /** Of one of its addresses. */
  of(destination: Destination, host: string): EndpointLoad {
    const known = this.#knownOf(destination);
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
    const known: Known = {
      loads: new Map(),
      ejection: new Ejection({
        loads: () => Array.from(known.loads.values()),
        nowMs: monotonicMs,
        onEjected: ({ address, failures }, forMs) => this.#onEjected(address, forMs, failures),
      }),
    };
    this.#known.set(key, known);
    return known;
  }

  #loadOf({ loads, ejection }: Known, { port }: Destination, host: string): EndpointLoad {
    return loads.get(host) ?? new EndpointLoad(addressText({ kind: "tcp", host, port }), this.counts, ejection);
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
