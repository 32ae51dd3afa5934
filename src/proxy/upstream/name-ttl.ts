import { Resolver } from "node:dns";
import { readFileSync } from "node:fs";

/** How long what a name stands for may be kept, milliseconds. `done` is called once, later; undefined: nobody says. */
export type NameTtl = (name: string, done: (ttlMs: number | undefined) => void) => void;

/** What resolv.conf(5) says about names that are not whole. */
export interface SearchRules {
  readonly domains: readonly string[];
  /** A name with fewer dots is tried with the domains first. */
  readonly dots: number;
}

const MOST_DOMAINS = 6;
const MOST_DOTS = 15;

/** getaddrinfo, which knows the hosts file and all else that the machine is set up for, does not tell a TTL: DNS is asked for it
 *  besides, with the search domains that getaddrinfo would use. The smallest of the A and AAAA records counts.
 *  @param servers DNS servers to ask, `IP:port`; the machine's without */
export function createNameTtl(
  timeoutMs: number,
  rules: SearchRules = readSearchRules(),
  servers?: readonly string[],
): NameTtl {
  const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
  if (servers !== undefined) resolver.setServers(servers);
  const ask = (names: readonly string[], at: number, done: (ttlMs: number | undefined) => void): void => {
    const name = names[at];
    if (name === undefined) {
      done(undefined);
      return;
    }
    const ttls: number[] = [];
    let open = 2;
    let isOut = false;
    const settle = (error: NodeJS.ErrnoException | null, records: readonly { readonly ttl: number }[]): void => {
      if (error === null) ttls.push(...records.map(({ ttl }) => ttl));
      else if (error.code !== "ENOTFOUND" && error.code !== "ENODATA") isOut = true;
      open--;
      if (open > 0) return;
      if (ttls.length > 0) done(Math.min(...ttls) * 1000);
      // a server that does not answer would not for the other domains either
      else if (isOut) done(undefined);
      else ask(names, at + 1, done);
    };
    resolver.resolve4(name, { ttl: true }, (error, records) => settle(error, error === null ? records : []));
    resolver.resolve6(name, { ttl: true }, (error, records) => settle(error, error === null ? records : []));
  };
  return (name, done) => ask(namesToAsk(name, rules), 0, done);
}

/** The whole names that a name may stand for, in the resolver's order (resolv.conf(5), `search` and `ndots`). */
export function namesToAsk(name: string, { domains, dots }: SearchRules): string[] {
  if (name.endsWith(".")) return [name.slice(0, -1)];
  const inDomains = domains.map((domain) => `${name}.${domain}`);
  return name.split(".").length - 1 >= dots ? [name, ...inDomains] : [...inDomains, name];
}

/** Never throws: without the file there are no domains. */
function readSearchRules(): SearchRules {
  try {
    return parseSearchRules(readFileSync("/etc/resolv.conf", "utf8"));
  } catch {
    return parseSearchRules("");
  }
}

export function parseSearchRules(text: string): SearchRules {
  let domains: string[] = [];
  let dots = 1;
  for (const line of text.split("\n")) {
    const [word, ...rest] = line.trim().split(/\s+/);
    // the last of them counts
    if (word === "search" || word === "domain") domains = rest.map((domain) => domain.replace(/\.$/, ""));
    if (word !== "options") continue;
    for (const option of rest) if (option.startsWith("ndots:")) dots = Number.parseInt(option.slice(6), 10);
  }
  const isNumber = Number.isInteger(dots) && dots >= 0;
  return {
    domains: domains.filter((domain) => domain !== "").slice(0, MOST_DOMAINS),
    dots: isNumber ? Math.min(dots, MOST_DOTS) : 1,
  };
}
