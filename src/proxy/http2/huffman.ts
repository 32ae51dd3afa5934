/** Bits of the code of each byte value, then of EOS (RFC 7541 appendix B). The codes themselves follow: shorter ones first, those
 *  of one length in the order of the values. */
// biome-ignore format: sixteen a line can be compared with the RFC
export const CODE_LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];

const EOS = 256;
/** Inner nodes of the code tree: one less than its leaves. */
const NODES = 256;
/** Reached by EOS, which no string may hold, and never left. */
const DEAD = NODES;
const EMITS = 0x100;

/** By node (times 16) and the next four bits: the node reached (times 16, in bits 16 and up), EMITS if a byte value was completed on the way, and that value. No
 *  code is shorter than five bits, so it is one at most. */
const STEPS = new Uint32Array((NODES + 1) * 16);
/** By node: 1 where a string may end. Its last bits are then the beginning of EOS and fewer than eight (section 5.2). */
const MAY_END = new Uint8Array(NODES + 1);
/** Our own sidecars send no such strings: the tables are made for the first peer that does. */
let isBuilt = false;

function buildSteps(): void {
  isBuilt = true;
  // children of node n at 2n and 2n+1: a node, or ~value for a leaf
  const children = buildTree();
  for (let node = 0; node < NODES; node++) {
    for (let bits = 0; bits < 16; bits++) STEPS[16 * node + bits] = stepFrom(children, node, bits);
  }
  STEPS.fill((16 * DEAD) << 16, 16 * DEAD);
  for (let node = 0, ones = 0; ones < 8; ones++) {
    MAY_END[node] = 1;
    node = children[2 * node + 1] as number;
  }
}

function buildTree(): Int32Array {
  const children = new Int32Array(2 * NODES);
  const values = CODE_LENGTHS.map((_, value) => value);
  values.sort((a, b) => (CODE_LENGTHS[a] as number) - (CODE_LENGTHS[b] as number) || a - b);
  let nodes = 1;
  let code = 0;
  let length = 0;
  for (const value of values) {
    const ofValue = CODE_LENGTHS[value] as number;
    code <<= ofValue - length;
    length = ofValue;
    let node = 0;
    for (let bit = length - 1; bit > 0; bit--) {
      const child = 2 * node + ((code >>> bit) & 1);
      if (children[child] === 0) children[child] = nodes++;
      node = children[child] as number;
    }
    children[2 * node + (code & 1)] = ~value;
    code++;
  }
  return children;
}

function stepFrom(children: Int32Array, start: number, bits: number): number {
  let node = start;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const child = children[2 * node + ((bits >>> bit) & 1)] as number;
    if (child === ~EOS) return (16 * DEAD) << 16;
    if (child < 0) emitted = EMITS | ~child;
    node = child < 0 ? 0 : child;
  }
  return ((16 * node) << 16) | emitted;
}

/** Decodes the Huffman-coded string bytes[start … end) into `out`, which has room for 8/5 of it. Returns the number of bytes written, or
 *  -1 if the string holds EOS or its padding is longer than seven bits or no beginning of EOS (RFC 7541 section 5.2). */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, out: Uint8Array): number {
  if (!isBuilt) buildSteps();
  let length = 0;
  let node = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    let step = STEPS[node | (byte >>> 4)] as number;
    if ((step & EMITS) !== 0) out[length++] = step;
    step = STEPS[(step >>> 16) | (byte & 15)] as number;
    if ((step & EMITS) !== 0) out[length++] = step;
    node = step >>> 16;
  }
  return MAY_END[node >>> 4] === 1 ? length : -1;
}
