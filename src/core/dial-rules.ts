import { type CidrSet, cidrSet } from "./cidr-set.ts";
import { type Cidr, formatIpAddress, type IpAddress, parseCidr } from "./ip-address.ts";

/** What the rules know about this machine and this process, and what the configuration opens. */
export interface DialRulesOptions {
  /** Addresses of this machine's interfaces. */
  readonly ownAddresses: readonly IpAddress[];
  /** What this process listens on. `address` undefined: on every address of the machine. */
  readonly ownListeners: readonly { readonly address: IpAddress | undefined; readonly port: number }[];
  /** Blocks that are open although a rule closes them. They are compared with the address as it is dialled: 10.0.0.0/8 opens
   *  ::ffff:10.0.0.1, which is the same address, and not 64:ff9b::10.0.0.1, which a translator answers for. A listener of
   *  our own stays closed: it would take us for its caller. */
  readonly allowed: readonly Cidr[];
}

/** Why an address may not be dialled, as one readable line; undefined: it may. Asked with what DNS answered, at each
 *  attempt, never with a name: the same name can stand for another address a moment later. */
export type DialRules = (address: IpAddress, port: number) => string | undefined;

/** Addresses at which clouds hand out credentials and configuration. Looked at before the blocks, for the better reason. */
const METADATA: readonly (readonly [block: string, name: string])[] = [
  ["169.254.169.254/32", "a cloud's metadata service"],
  ["169.254.170.2/32", "a cloud's credentials service"],
  ["169.254.170.23/32", "a cloud's credentials service"],
  ["100.100.100.200/32", "a cloud's metadata service"],
  ["168.63.129.16/32", "a cloud's host service"],
  ["192.0.0.192/32", "a cloud's metadata service"],
  ["fd00:ec2::/32", "a cloud's metadata services"],
  ["fd20:ce::254/128", "a cloud's metadata service"],
];

/** Blocks of IANA's special-purpose registries (RFC 6890 and those it lists) that lead to this machine, its neighbours or nobody. */
const BLOCKS: readonly (readonly [block: string, name: string])[] = [
  ["0.0.0.0/8", "this machine (0.0.0.0/8)"],
  ["127.0.0.0/8", "loopback"],
  ["169.254.0.0/16", "link-local"],
  ["10.0.0.0/8", "a private range"],
  ["172.16.0.0/12", "a private range"],
  ["192.168.0.0/16", "a private range"],
  ["100.64.0.0/10", "a shared range (RFC 6598)"],
  ["192.0.0.0/24", "a range for protocols (RFC 6890)"],
  ["198.18.0.0/15", "a range for benchmarks (RFC 2544)"],
  ["224.0.0.0/4", "multicast"],
  ["240.0.0.0/4", "a reserved range"],
  ["::/128", "this machine (::)"],
  ["::1/128", "loopback"],
  ["fe80::/10", "link-local"],
  ["fec0::/10", "a private range (site-local)"],
  ["fc00::/7", "a private range (unique local)"],
  ["ff00::/8", "multicast"],
  // where the IPv4 address stands depends on the network's own prefix, so that it can't be judged
  ["64:ff9b:1::/48", "a range for local translation (RFC 8215)"],
  ["2001::/32", "Teredo, which hides an IPv4 address"],
];

/** Forms of IPv6 that carry an IPv4 address, and the word whose top bit it starts `shift` bits after. */
const CARRIERS: readonly {
  readonly block: CidrSet;
  readonly name: string;
  readonly at: number;
  readonly shift: 0 | 16;
}[] = [
  { block: blockSet("64:ff9b::/96"), name: "NAT64", at: 3, shift: 0 },
  { block: blockSet("2002::/16"), name: "6to4", at: 0, shift: 16 },
  { block: blockSet("::/96"), name: "IPv4-compatible", at: 3, shift: 0 },
  { block: blockSet("::ffff:0:0:0/96"), name: "IPv4-translated", at: 3, shift: 0 },
];

/** How the reason ends that no configuration changes. */
export const OWN_LISTENER = "is a listener of this sidecar";

const SPECIAL = [...METADATA, ...BLOCKS].map(([text, name]) => ({ block: blockSet(text), name }));

function blockSet(text: string): CidrSet {
  const block = parseCidr(text);
  if (block === undefined) throw new TypeError(`${text} is no address block`);
  return cidrSet([block]);
}

/** Makes the rules about what may be dialled on behalf of somebody who names the destination: an app that uses the egress
 *  proxy, a document that names a URL. Closed are this machine, our listeners, what is near it and clouds' metadata services, in every
 *  form in which IPv6 carries IPv4 (IPv4-mapped is IPv4 for parseIpAddress already). Pure. */
export function createDialRules(options: DialRulesOptions): DialRules {
  const own = cidrSet(options.ownAddresses.map(hostBlock));
  const allowed = cidrSet(options.allowed);
  const listeners = options.ownListeners.map(({ address, port }) => ({
    port,
    addresses: address === undefined ? undefined : cidrSet([hostBlock(address)]),
  }));
  return (address, port) => {
    const inner = carried(address);
    const target = inner?.address ?? address;
    // a listener on every address is reached by whatever leads to this machine
    const here = own.has(target) || leadsHere(target);
    for (const listener of listeners) {
      if (listener.port !== port) continue;
      const reached = listener.addresses === undefined ? here : listener.addresses.has(target) || isUnspecified(target);
      if (reached) {
        return `${formatIpAddress(address)}:${port} ${OWN_LISTENER}`;
      }
    }
    if (allowed.has(address)) return undefined;
    const name = specialName(target) ?? (own.has(target) ? "an address of this machine" : undefined);
    if (name !== undefined) {
      const text = formatIpAddress(address);
      return inner === undefined
        ? `${text} is ${name}`
        : `${text} is ${formatIpAddress(target)} in ${inner.form} form: ${name}`;
    }
    return undefined;
  };
}

function hostBlock({ family, words }: IpAddress): Cidr {
  return { family, words, prefixBits: family === 4 ? 32 : 128 };
}

function specialName(address: IpAddress): string | undefined {
  return SPECIAL.find(({ block }) => block.has(address))?.name;
}

/** Loopback, and what stands for this machine. */
function leadsHere({ family, words }: IpAddress): boolean {
  const [first = 0, second = 0, third = 0, last = 0] = words;
  if (family === 4) return first >>> 24 === 127 || first >>> 24 === 0;
  return first === 0 && second === 0 && third === 0 && last <= 1;
}

/** Linux connects it to loopback. */
function isUnspecified({ words }: IpAddress): boolean {
  return words.every((word) => word === 0);
}

function carried(address: IpAddress): { readonly address: IpAddress; readonly form: string } | undefined {
  if (address.family === 4 || leadsHere(address)) return undefined;
  const carrier = CARRIERS.find(({ block }) => block.has(address));
  if (carrier === undefined) return undefined;
  const high = address.words[carrier.at] ?? 0;
  const word = carrier.shift === 0 ? high : ((high << 16) | ((address.words[carrier.at + 1] ?? 0) >>> 16)) >>> 0;
  return { address: { family: 4, words: [word] }, form: carrier.name };
}
