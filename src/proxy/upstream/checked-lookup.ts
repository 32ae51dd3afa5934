import { type DialRules, OWN_LISTENER } from "../../core/dial-rules.ts";
import { CountersignError } from "../../core/errors.ts";
import { formatIpAddress, type IpAddress, parseIpAddress } from "../../core/ip-address.ts";
import { monotonicMs } from "../monotonic.ts";
import type { NameTtl } from "./name-ttl.ts";
import type { ResolveName } from "./system-resolve.ts";

/** Canonical texts of addresses that may be dialled, the first to be tried first. */
export type CheckedAddresses = readonly [string, ...string[]];

/** Finds what may be dialled for a host. `done` is called once, at once where the answer is known. */
export type CheckedLookup = (
  host: string,
  port: number,
  rules: DialRules | undefined,
  done: (result: CheckedAddresses | CountersignError) => void,
) => void;

/** How long an answer is used again where nobody tells its TTL. The rules are asked each time. */
const MEMORY_MS = 5000;
const SHORTEST_MS = 1000;
const LONGEST_MS = 3_600_000;
const MOST_REMEMBERED = 1024;
/** Addresses of one name that are looked at. */
const MOST_ADDRESSES = 16;

interface Remembered {
  readonly addresses: readonly string[];
  untilMs: number;
}

const NO_TTL: NameTtl = (_name, done) => done(undefined);

/** Resolves names and holds every address against the rules, each time: a name may change what it stands for between two
 *  calls (DNS rebinding), and what is dialled is what was checked, since the caller dials the address and not the name again.
 *  A literal address is checked alike. `rules` undefined: no rule, for a destination that the configuration names by address.
 *  Addresses that the rules refuse are left out; if none is left the error is E_EGRESS_ADDRESS with the first one's reason. An answer is
 *  used again until its TTL has passed. */
export function createCheckedLookup(
  resolve: ResolveName,
  nowMs: () => number = monotonicMs,
  ttlOf: NameTtl = NO_TTL,
): CheckedLookup {
  const memory = new Map<string, Remembered>();
  const asking = new Map<string, ((result: readonly string[] | CountersignError) => void)[]>();

  const addressesOf = (host: string, done: (result: readonly string[] | CountersignError) => void): void => {
    if (parseIpAddress(host) !== undefined) {
      done([host]);
      return;
    }
    const known = memory.get(host);
    if (known !== undefined && known.untilMs > nowMs()) {
      done(known.addresses);
      return;
    }
    const others = asking.get(host);
    if (others !== undefined) {
      others.push(done);
      return;
    }
    const askers = [done];
    asking.set(host, askers);
    const askedMs = nowMs();
    let ttlMs: number | undefined;
    let remembered: Remembered | undefined;
    const untilMs = (): number => askedMs + Math.min(LONGEST_MS, Math.max(SHORTEST_MS, ttlMs ?? MEMORY_MS));
    ttlOf(host, (told) => {
      ttlMs = told;
      if (remembered !== undefined) remembered.untilMs = untilMs();
    });
    resolve(host, (result) => {
      asking.delete(host);
      memory.delete(host);
      if (!(result instanceof CountersignError)) {
        const [oldest] = memory.keys();
        if (memory.size >= MOST_REMEMBERED && oldest !== undefined) memory.delete(oldest);
        remembered = { addresses: result, untilMs: untilMs() };
        memory.set(host, remembered);
      }
      for (const asker of askers) asker(result);
    });
  };

  return (host, port, rules, done) =>
    addressesOf(host, (found) => done(found instanceof CountersignError ? found : check(host, port, found, rules)));
}

function check(
  host: string,
  port: number,
  found: readonly string[],
  rules: DialRules | undefined,
): CheckedAddresses | CountersignError {
  const permitted: string[] = [];
  let refused: string | undefined;
  for (const text of found.slice(0, MOST_ADDRESSES)) {
    const address: IpAddress | undefined = parseIpAddress(text);
    // an address with a zone (fe80::1%eth0) is link-local
    const refusal = address === undefined ? `${text} is link-local` : rules?.(address, port);
    if (refusal !== undefined) refused ??= refusal;
    else if (address !== undefined) permitted.push(formatIpAddress(address));
  }
  const [first, ...others] = permitted;
  if (first !== undefined) return [first, ...others];
  const why = refused ?? "it has no address";
  const where = found.includes(host) ? why : `${host}: ${why}`;
  const isClosed = why.endsWith(OWN_LISTENER);
  return new CountersignError("E_EGRESS_ADDRESS", isClosed ? where : `${where}, and not in forward.addresses`);
}
