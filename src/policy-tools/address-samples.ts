import { type Cidr, formatIpAddress, parseCidr } from "../core/ip-address.ts";

/** Addresses that tell a block from one that is a bit larger or smaller: its first, middle and last, and one past each end. None for what is no
 *  block. */
export function addressSamples(block: string): readonly string[] {
  const cidr = parseCidr(block);
  if (cidr === undefined) return [];
  const bits = cidr.family === 4 ? 32n : 128n;
  const first = cidr.words.reduce((sum, word) => (sum << 32n) | BigInt(word), 0n);
  const size = 1n << (bits - BigInt(cidr.prefixBits));
  const last = first + size - 1n;
  const inside = [first, first + size / 2n, last];
  const outside = [first - 1n, last + 1n].filter((address) => address >= 0n && address >> bits === 0n);
  return [...new Set([...inside, ...outside])].map((address) => textOf(address, cidr));
}

function textOf(address: bigint, { family, words }: Cidr): string {
  const last = words.length - 1;
  return formatIpAddress({
    family,
    words: words.map((_, i) => Number((address >> BigInt((last - i) * 32)) & 0xffffffffn)),
  });
}
