import type { Address } from "../../config/sidecar-config.ts";
import { CountersignError } from "../../core/errors.ts";
import { formatIpAddress, parseIpAddress } from "../../core/ip-address.ts";
import { type Deadlines, deadlineAfter, type HasDeadline } from "../deadlines.ts";
import { monotonicMs } from "../monotonic.ts";
import type { NameTtl } from "./name-ttl.ts";
import type { ResolveName } from "./system-resolve.ts";

/** An address to dial, and the name that it was found by. */
export interface ResolvedAddress {
  readonly address: Address;
  /** For the SNI; undefined where the configuration has the address itself. */
  readonly name: string | undefined;
}

export interface ResolvedEndpointsOptions {
  readonly endpoints: readonly Address[];
  readonly resolve: ResolveName;
  readonly ttlOf: NameTtl;
  readonly deadlines: Deadlines;
  /** The addresses have changed. */
  readonly onChange: (addresses: readonly ResolvedAddress[]) => void;
  /** A name has no address now although it had; or it has again (undefined). Told once for each change. */
  readonly onProblem: (name: string, problem: CountersignError | undefined) => void;
}

/** Where nobody tells a TTL: names of the hosts file. */
const UNKNOWN_TTL_MS = 30_000;
const SHORTEST_MS = 1000;
const LONGEST_MS = 3_600_000;
/** After a failure: 1, 2, 4, … s. */
const LONGEST_PAUSE_MS = 30_000;
/** Of one name. */
const MOST_ADDRESSES = 64;

interface Name extends HasDeadline {
  deadlineMs: number;
  readonly host: string;
  readonly port: number;
  /** The last good answer; undefined before the first. */
  addresses: readonly ResolvedAddress[] | undefined;
  problem: CountersignError | undefined;
  failures: number;
  asking: boolean;
}

/** Endpoints of the configuration as addresses. Names are resolved at once and again whenever their TTL has passed; a name that
 *  cannot be resolved keeps its last good answer for as long as it takes. */
export class ResolvedEndpoints {
  readonly #options: ResolvedEndpointsOptions;
  readonly #items: readonly (ResolvedAddress | Name)[];
  #waiting: (() => void)[] = [];
  #text = "";
  #closed = false;

  constructor(options: ResolvedEndpointsOptions) {
    this.#options = options;
    this.#items = options.endpoints.map((address): ResolvedAddress | Name => {
      const { kind } = address;
      if (kind === "unix" || parseIpAddress(address.host) !== undefined) return { address, name: undefined };
      const name: Name = {
        deadlineMs: Number.POSITIVE_INFINITY,
        host: address.host,
        port: address.port,
        addresses: undefined,
        problem: undefined,
        failures: 0,
        asking: false,
        onDeadline: () => this.#ask(name),
      };
      return name;
    });
  }

  /** Begins; `onChange` may be called from inside. */
  start(): void {
    const names = this.#names();
    for (const name of names) {
      this.#options.deadlines.add(name);
      this.#ask(name);
    }
    if (names.length < this.#items.length) this.#publish();
  }

  #names(): Name[] {
    return this.#items.filter((item) => "host" in item);
  }

  /** Why there is no address at all; undefined while a name is asked for the first time. */
  get problem(): CountersignError | undefined {
    const names = this.#names();
    if (names.some(({ addresses, problem }) => addresses === undefined && problem === undefined)) return undefined;
    return names.find(({ problem }) => problem !== undefined)?.problem;
  }

  /** Names whose last resolution failed. */
  get problems(): readonly { readonly name: string; readonly problem: CountersignError }[] {
    return this.#names().flatMap(({ host, problem }) => (problem === undefined ? [] : [{ name: host, problem }]));
  }

  /** Called once when some name has been answered, in whatever way. */
  onceAnswered(waiting: () => void): void {
    this.#waiting.push(waiting);
    // a name that failed is asked again now rather than after its pause, for somebody wants it
    for (const name of this.#names()) if (name.addresses === undefined) this.#ask(name);
  }

  #ask(name: Name): void {
    if (name.asking || this.#closed) return;
    name.asking = true;
    name.deadlineMs = Number.POSITIVE_INFINITY;
    const askedMs = monotonicMs();
    let ttlMs: number | undefined;
    let answered = false;
    const again = (): void => {
      const kept = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, ttlMs ?? UNKNOWN_TTL_MS));
      name.deadlineMs = askedMs + kept;
    };
    this.#options.ttlOf(name.host, (told) => {
      ttlMs = told;
      if (answered && name.problem === undefined && !name.asking) again();
    });
    this.#options.resolve(name.host, (result) => {
      answered = true;
      name.asking = false;
      if (this.#closed) return;
      if (result instanceof CountersignError) this.#failed(name, result);
      else {
        again();
        this.#found(name, result);
      }
      const { addresses } = name;
      if (addresses === undefined && this.#names().some((one) => one.asking)) return;
      for (const waiting of this.#waiting.splice(0)) waiting();
    });
  }

  #failed(name: Name, error: CountersignError): void {
    name.deadlineMs = deadlineAfter(Math.min(LONGEST_PAUSE_MS, SHORTEST_MS * 2 ** Math.min(name.failures, 10)));
    name.failures++;
    const isNew = name.problem === undefined;
    name.problem = new CountersignError("E_UPSTREAM_RESOLVE", error.message, { cause: error });
    if (isNew) this.#options.onProblem(name.host, name.problem);
  }

  #found(name: Name, texts: readonly string[]): void {
    const wasProblem = name.problem !== undefined;
    name.problem = undefined;
    name.failures = 0;
    const found: ResolvedAddress[] = [];
    for (const text of texts.slice(0, MOST_ADDRESSES)) {
      const ip = parseIpAddress(text);
      // an address with a zone (fe80::1%eth0) stays as it is
      const host = ip === undefined ? text : formatIpAddress(ip);
      found.push({ address: { kind: "tcp", host, port: name.port }, name: name.host });
    }
    name.addresses = found;
    if (wasProblem) this.#options.onProblem(name.host, undefined);
    this.#publish();
  }

  #publish(): void {
    const seen = new Set<string>();
    const all: ResolvedAddress[] = [];
    for (const item of this.#items) {
      for (const one of "host" in item ? (item.addresses ?? []) : [item]) {
        const key = keyOf(one);
        if (seen.has(key)) continue;
        seen.add(key);
        all.push(one);
      }
    }
    const text = [...seen].sort().join(" ");
    if (text === this.#text) return;
    this.#text = text;
    this.#options.onChange(all);
  }

  close(): void {
    this.#closed = true;
    for (const name of this.#names()) this.#options.deadlines.delete(name);
    for (const waiting of this.#waiting.splice(0)) waiting();
  }
}

/** Tells addresses apart: a connection is of one name alone, since its SNI says which. */
export function keyOf({ address, name }: ResolvedAddress): string {
  return address.kind === "unix" ? `unix:${address.path}` : `${address.host} ${address.port} ${name ?? ""}`;
}
