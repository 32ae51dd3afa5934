/** An IP address as numbers, ready to compare. IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2) is always IPv4 here, so that
 *  no rule about an address can be dodged by writing it the other way. Made only by parseIpAddress. */
export interface IpAddress {
  readonly family: 4 | 6;
  /** The address as unsigned 32-bit words, highest first: one for IPv4, four for IPv6. */
  readonly words: readonly number[];
}

/** An address block. The bits behind the prefix are zero. */
export interface Cidr extends IpAddress {
  /** Length of the prefix: 0 to 32 for IPv4, 0 to 128 for IPv6. */
  readonly prefixBits: number;
}

/** Longest text of an IPv6 address (RFC 4291 section 2.2, with a dotted IPv4 tail). */
const MAX_TEXT = 45;

function parseIpv4(text: string): number | undefined {
  let word = 0;
  let octet = -1;
  let octets = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 0x2e;
    if (code === 0x2e) {
      if (octet === -1 || octets === 4) return undefined;
      word = word * 256 + octet;
      octets++;
      octet = -1;
    } else if (code >= 0x30 && code <= 0x39) {
      // A leading zero is refused: some parsers read 010 as eight.
      if (octet === 0) return undefined;
      octet = (octet === -1 ? 0 : octet * 10) + code - 0x30;
      if (octet > 255) return undefined;
    } else return undefined;
  }
  return octets === 4 ? word : undefined;
}

/** Hexadecimal groups of one side of `::`, or undefined. A dotted IPv4 address may be the last of the right side. */
function parseGroups(text: string, mayEndDotted: boolean): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (mayEndDotted && index === parts.length - 1 && part.includes(".")) {
      const word = parseIpv4(part);
      if (word === undefined) return undefined;
      groups.push(word >>> 16, word & 0xffff);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function parseIpv6(text: string): readonly number[] | undefined {
  const gap = text.indexOf("::");
  let groups: number[];
  if (gap === -1) {
    const all = parseGroups(text, true);
    if (all === undefined) return undefined;
    groups = all;
  } else {
    const head = parseGroups(text.slice(0, gap), false);
    const tail = parseGroups(text.slice(gap + 2), true);
    if (head === undefined || tail === undefined) return undefined;
    const missing = 8 - head.length - tail.length;
    if (missing < 1) return undefined;
    groups = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  }
  if (groups.length !== 8) return undefined;
  const words: number[] = [];
  for (let i = 0; i < 8; i += 2) words.push((((groups[i] ?? 0) << 16) | (groups[i + 1] ?? 0)) >>> 0);
  return words;
}

function isMapped(words: readonly number[]): boolean {
  return words[0] === 0 && words[1] === 0 && words[2] === 0xffff;
}

/** Reads an address: dotted IPv4 without leading zeros, or IPv6 (RFC 4291). No zone, no brackets, no port.
 *  undefined: not an address. */
export function parseIpAddress(text: string): IpAddress | undefined {
  if (text.length > MAX_TEXT) return undefined;
  if (!text.includes(":")) {
    const word = parseIpv4(text);
    return word === undefined ? undefined : { family: 4, words: [word] };
  }
  const words = parseIpv6(text);
  if (words === undefined) return undefined;
  return isMapped(words) ? { family: 4, words: [words[3] ?? 0] } : { family: 6, words };
}

/** Reads `address` or `address/bits`. Bits behind the prefix are cleared. An IPv4-mapped block of 96 bits or more is the
 *  IPv4 block. undefined: neither. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  const address = parseIpAddress(slash === -1 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  const bitsText = slash === -1 ? undefined : text.slice(slash + 1);
  if (bitsText !== undefined && !/^(?:0|[1-9][0-9]{0,2})$/.test(bitsText)) return undefined;
  const width = address.family === 4 ? 32 : 128;
  let prefixBits = bitsText === undefined ? width : Number(bitsText);
  if (bitsText !== undefined && address.family === 4 && text.includes(":")) {
    // Written as mapped: its bits count from the IPv6 address's start. A shorter block is wider than IPv4.
    if (prefixBits < 96) return undefined;
    prefixBits -= 96;
  }
  if (prefixBits > width) return undefined;
  const words = address.words.map((word, i) => {
    const keep = Math.min(32, Math.max(0, prefixBits - i * 32));
    return keep === 0 ? 0 : (word & (0xffffffff << (32 - keep))) >>> 0;
  });
  return { family: address.family, words, prefixBits };
}

/** The canonical text of an address: dotted IPv4, or IPv6 by RFC 5952. */
export function formatIpAddress(address: IpAddress): string {
  const { words } = address;
  if (address.family === 4) {
    const word = words[0] ?? 0;
    return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
  }
  const groups = words.flatMap((word) => [word >>> 16, word & 0xffff]);
  // RFC 5952 section 4.2: the first longest run of two or more zero groups becomes "::".
  let gapAt = -1;
  let gapLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (groups[i + length] === 0) length++;
    if (length > gapLength) {
      gapAt = i;
      gapLength = length;
    }
    if (length > 0) i += length - 1;
  }
  const text = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return gapAt === -1 ? text(0, 8) : `${text(0, gapAt)}::${text(gapAt + gapLength, 8)}`;
}

/** The canonical text of a socket's address (`socket.remoteAddress`): IPv4-mapped as IPv4, a zone (`%eth0`) removed.
 *  undefined: not an address, as for a Unix socket. */
export function canonicalIpAddress(text: string): string | undefined {
  const zone = text.indexOf("%");
  const address = parseIpAddress(zone === -1 ? text : text.slice(0, zone));
  return address === undefined ? undefined : formatIpAddress(address);
}
