import type { ForwardRules } from "../../config/sidecar-config.ts";
import { createDialRules, type DialRules } from "../../core/dial-rules.ts";
import type { CountersignError } from "../../core/errors.ts";
import { type IpAddress, parseCidr, parseIpAddress } from "../../core/ip-address.ts";
import type { CheckedAddresses, CheckedLookup } from "../upstream/checked-lookup.ts";
import type { Destination } from "./destination.ts";

/** What the rules about addresses know of the machine and of this process. Asked again every few seconds: both change. */
export interface OwnPlaces {
  readonly addresses: () => readonly IpAddress[];
  readonly listeners: () => readonly { readonly address: IpAddress | undefined; readonly port: number }[];
}

const RULES_AGE_MS = 5000;

/** Finds the addresses at which a listener's egress proxy may dial a destination. */
export class DestinationAddresses {
  readonly #lookup: CheckedLookup;
  readonly #own: OwnPlaces;
  readonly #allowed: ReturnType<typeof blocks>;
  readonly #nowMs: () => number;
  #rules: { readonly mesh: DialRules; readonly others: DialRules; readonly untilMs: number } | undefined;

  constructor(lookup: CheckedLookup, forward: ForwardRules, own: OwnPlaces, nowMs: () => number) {
    this.#lookup = lookup;
    this.#own = own;
    this.#allowed = blocks(forward.addresses);
    this.#nowMs = nowMs;
  }

  /** `done` is called once, at once where the answer is known. A destination in the mesh that the configuration names by its
   *  address is dialled as it is; one that it names by name passes the rules like all others, but may be this sidecar. */
  find(destination: Destination, done: (result: CheckedAddresses | CountersignError) => void): void {
    const { host, port, mesh, isAddress } = destination;
    const rules = this.#current();
    const wanted = mesh === undefined ? rules.others : isAddress ? undefined : rules.mesh;
    this.#lookup(host, port, wanted, done);
  }

  #current(): { readonly mesh: DialRules; readonly others: DialRules } {
    const nowMs = this.#nowMs();
    if (this.#rules !== undefined && this.#rules.untilMs > nowMs) return this.#rules;
    const known = { ownAddresses: this.#own.addresses(), allowed: this.#allowed };
    this.#rules = {
      mesh: createDialRules({ ...known, ownListeners: [] }),
      others: createDialRules({ ...known, ownListeners: this.#own.listeners() }),
      untilMs: nowMs + RULES_AGE_MS,
    };
    return this.#rules;
  }
}

function blocks(texts: readonly string[]) {
  return texts.flatMap((text) => parseCidr(text) ?? []);
}

/** A listening address as the rules compare it; `undefined` address: every one of the machine. */
export function listeningPlace(
  host: string,
  port: number,
): { readonly address: IpAddress | undefined; readonly port: number } {
  const address = parseIpAddress(host);
  const everywhere = address === undefined || address.words.every((word) => word === 0);
  return { address: everywhere ? undefined : address, port };
}
