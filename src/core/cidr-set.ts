import type { Cidr, IpAddress } from "./ip-address.ts";

const NONE = 0;
const INSIDE = -1;

/** One binary tree of prefixes: node n's children are at 2n and 2n+1; INSIDE means that all addresses below are in. */
function insert(tree: number[], block: Cidr): void {
  let slot = 0;
  if (tree[0] === INSIDE) return;
  for (let bit = 0; bit < block.prefixBits; bit++) {
    const one = ((block.words[bit >>> 5] ?? 0) >>> (31 - (bit & 31))) & 1;
    if (tree[slot] === NONE) {
      tree[slot] = tree.length;
      tree.push(NONE, NONE);
    }
    slot = (tree[slot] ?? 0) + one;
    if (tree[slot] === INSIDE) return;
  }
  tree[slot] = INSIDE;
}

function contains(tree: readonly number[], words: readonly number[]): boolean {
  let next = tree[0] ?? NONE;
  for (let bit = 0; next > NONE; bit++) {
    const one = ((words[bit >>> 5] ?? 0) >>> (31 - (bit & 31))) & 1;
    next = tree[next + one] ?? NONE;
  }
  return next === INSIDE;
}

/** A set of address blocks that answers in at most 32 (IPv4) or 128 (IPv6) steps, however many blocks it has.
 *  Immutable. IPv4 blocks never contain IPv6 addresses, nor the reverse. */
export interface CidrSet {
  has(address: IpAddress): boolean;
}

export function cidrSet(blocks: readonly Cidr[]): CidrSet {
  // Slot 0 is the root; children are appended in pairs.
  const trees = { 4: [NONE], 6: [NONE] };
  for (const block of blocks) insert(trees[block.family], block);
  return { has: (address) => contains(trees[address.family], address.words) };
}
