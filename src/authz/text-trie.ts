// A radix tree over the beginnings (or the ends) of texts, flat among the numbers of a set of policies, so that a lookup among a hundred
// thousand entries touches a few cache lines: a node's label and children stand right behind it. A lookup walks the text once and
// allocates nothing.

/** Stands in an entry for a `{*}` of a template: one segment, which is everything up to the next slash and at least one character. Texts that are
 *  looked up never have it. */
export const SEGMENT = "\u0000";
export const SEGMENT_CODE = 0;
const SLASH = 0x2f;

// A node: its head; the value of the text that ends here, if one does; the value of all texts that begin so, if there is one; the span of its
// children, if it has any; its label, two characters in each number, in reading order of the walk; its children; its tail. The label is what
// follows the character or segment by which the node is a child.
// A head: these flags, and the length of the label above them.
export const HAS_EXACT = 1;
export const HAS_PREFIX = 2;
export const HAS_CHILDREN = 4;
/** The first child is for a segment. */
export const FORKS = 8;
/** Children are pairs of a character and a child, as the characters lie far apart; the span is how many. Otherwise they are a table, and the
 *  span is its first character above SPAN_BITS, its length below. */
export const IS_SPARSE = 16;
/** Children are a table for two characters: before its rows stands the span of the second one. Numbers in texts make such tables, and each look into
 *  a table waits for memory. */
export const IS_WIDE = 32;
/** What is LAST goes on with one more text, the same for all: behind the children stand its length above a bit that says whether any text may
 *  follow, and it. */
export const HAS_TAIL = 64;
export const LENGTH_SHIFT = 7;
export const SPAN_BITS = 9;
const SPAN_MASK = (1 << SPAN_BITS) - 1;

/** A child is the place of its node; or, where nothing but the end of a text (or the tail) comes behind the character, LAST less its value, so that
 *  most lookups end here; or NONE. */
export const NONE = -1;
export const LAST = -2;

/** Where the label begins. */
function labelOf(node: number, head: number): number {
  return node + 1 + (head & HAS_EXACT) + ((head >> 1) & 1) + ((head >> 2) & 1);
}

function prefixOf(words: Int32Array, node: number, head: number): number {
  return words[node + 1 + (head & HAS_EXACT)] ?? 0;
}

/** Where the children begin. */
function childrenOf(node: number, head: number): number {
  return labelOf(node, head) + (((head >> LENGTH_SHIFT) + 1) >> 1);
}

/** What a node has for a character; not of a wide one. */
function childOf(words: Int32Array, node: number, head: number, code: number): number {
  if ((head & HAS_CHILDREN) === 0) return NONE;
  const label = labelOf(node, head);
  const children = label + (((head >> LENGTH_SHIFT) + 1) >> 1);
  const span = words[label - 1] ?? 0;
  if ((head & IS_SPARSE) === 0) {
    const slot = code - (span >> SPAN_BITS);
    return slot < 0 || slot >= (span & SPAN_MASK) ? NONE : (words[children + slot] ?? NONE);
  }
  for (let i = 0; i < span; i++) if (words[children + 2 * i] === code) return words[children + 2 * i + 1] ?? NONE;
  return NONE;
}

/** What a wide node has for two characters. */
function wideChildOf(words: Int32Array, node: number, head: number, code: number, next: number): number {
  const rows = childrenOf(node, head);
  const first = words[labelOf(node, head) - 1] ?? 0;
  const second = words[rows] ?? 0;
  const row = code - (first >> SPAN_BITS);
  const slot = next - (second >> SPAN_BITS);
  if (row < 0 || row >= (first & SPAN_MASK) || slot < 0 || slot >= (second & SPAN_MASK)) return NONE;
  return words[rows + 1 + row * (second & SPAN_MASK) + slot] ?? NONE;
}

/** Whether the text goes on from `used` with the tail of a node. */
function hasTail(words: Int32Array, node: number, head: number, fromEnd: boolean, text: string, used: number): boolean {
  const children = childrenOf(node, head);
  const span = (words[labelOf(node, head) - 1] ?? 0) & SPAN_MASK;
  const at = (head & IS_WIDE) === 0 ? children + span : children + 1 + span * ((words[children] ?? 0) & SPAN_MASK);
  const tail = words[at] ?? 0;
  const next = behindText(words, at + 1, tail >> 1, fromEnd, text, used);
  return (tail & 1) === 1 ? next >= 0 : next === text.length;
}

/** Offset behind the node's label when it fits the text from `used` on, or -1. */
function behindLabel(
  words: Int32Array,
  node: number,
  head: number,
  fromEnd: boolean,
  text: string,
  used: number,
): number {
  return behindText(words, labelOf(node, head), head >> LENGTH_SHIFT, fromEnd, text, used);
}

function behindText(
  words: Int32Array,
  place: number,
  length: number,
  fromEnd: boolean,
  text: string,
  used: number,
): number {
  const next = used + length;
  const end = text.length;
  if (next > end) return -1;
  let at = place;
  let i = 0;
  if (fromEnd) {
    const last = end - 1 - used;
    for (; i + 1 < length; i += 2)
      if ((text.charCodeAt(last - i) | (text.charCodeAt(last - i - 1) << 16)) !== words[at++]) return -1;
    return i < length && text.charCodeAt(last - i) !== words[at] ? -1 : next;
  }
  for (; i + 1 < length; i += 2)
    if ((text.charCodeAt(used + i) | (text.charCodeAt(used + i + 1) << 16)) !== words[at++]) return -1;
  return i < length && text.charCodeAt(used + i) !== words[at] ? -1 : next;
}

/** Offset behind a segment, which are found in texts from their beginning only; -1: there is none. */
function behindSegment(text: string, used: number): number {
  let next = used;
  while (next < text.length && text.charCodeAt(next) !== SLASH) next++;
  return next === used ? -1 : next;
}

/** Writes the values of all entries that fit the text into `out` from `count` on, and returns the new count. */
export function collectValues(
  words: Int32Array,
  root: number,
  fromEnd: boolean,
  text: string,
  out: number[],
  count: number,
): number {
  return collectFrom(words, root, fromEnd, text, 0, out, count);
}

function collectFrom(
  words: Int32Array,
  root: number,
  fromEnd: boolean,
  text: string,
  start: number,
  out: number[],
  count: number,
): number {
  const end = text.length;
  let node = root;
  let used = start;
  let found = count;
  for (;;) {
    const head = words[node] ?? 0;
    let child: number;
    if (head === HAS_CHILDREN) {
      // Nothing but a table, as most nodes are where many texts share a beginning.
      if (used === end) return found;
      const span = words[node + 1] ?? 0;
      const slot = text.charCodeAt(fromEnd ? end - 1 - used : used) - (span >> SPAN_BITS);
      child = slot < 0 || slot >= (span & SPAN_MASK) ? NONE : (words[node + 2 + slot] ?? NONE);
    } else {
      if (head >> LENGTH_SHIFT !== 0) {
        used = behindLabel(words, node, head, fromEnd, text, used);
        if (used < 0) return found;
      }
      if ((head & HAS_PREFIX) !== 0) out[found++] = prefixOf(words, node, head);
      if (used === end) {
        if ((head & HAS_EXACT) !== 0) out[found++] = words[node + 1] ?? 0;
        return found;
      }
      // Only here may a lookup fork, and as often as templates of the policies do.
      if ((head & FORKS) !== 0) {
        const next = behindSegment(text, used);
        const segment = childOf(words, node, head, SEGMENT_CODE);
        if (next >= 0) found = collectFrom(words, segment, fromEnd, text, next, out, found);
      }
      const code = text.charCodeAt(fromEnd ? end - 1 - used : used);
      if ((head & IS_WIDE) !== 0) {
        // Nothing ends between the two.
        if (used + 1 === end) return found;
        used++;
        child = wideChildOf(words, node, head, code, text.charCodeAt(fromEnd ? end - 1 - used : used));
      } else child = code === SEGMENT_CODE ? NONE : childOf(words, node, head, code);
      if (child <= LAST && (head & HAS_TAIL) !== 0) {
        if (hasTail(words, node, head, fromEnd, text, used + 1)) out[found++] = LAST - child;
        return found;
      }
    }
    used++;
    if (child < 0) {
      if (child <= LAST && used === end) out[found++] = LAST - child;
      return found;
    }
    node = child;
  }
}

/** The value of an entry that shares a long beginning (or end) with the text, of several that of the first text; -1: there is no entry. */
export function nearestValue(words: Int32Array, root: number, fromEnd: boolean, text: string): number {
  const end = text.length;
  let node = root;
  let used = 0;
  for (;;) {
    const head = words[node] ?? 0;
    used = behindLabel(words, node, head, fromEnd, text, used);
    if (used < 0 || used >= end) return firstValue(words, node);
    const code = text.charCodeAt(fromEnd ? end - 1 - used : used);
    if ((head & IS_WIDE) !== 0) {
      used++;
      const next = used < end ? text.charCodeAt(fromEnd ? end - 1 - used : used) : SEGMENT_CODE;
      const below = wideChildOf(words, node, head, code, next);
      if (below <= LAST) return LAST - below;
      if (below < 0) return firstInTable(words, node, head, code);
      used++;
      node = below;
      continue;
    }
    const child = code === SEGMENT_CODE ? NONE : childOf(words, node, head, code);
    if (child <= LAST) return LAST - child;
    const segment = child < 0 && (head & FORKS) !== 0 ? childOf(words, node, head, SEGMENT_CODE) : child;
    if (segment < 0) return firstValue(words, node);
    used = child < 0 ? behindSegment(text, used) : used + 1;
    if (used < 0) return firstValue(words, segment);
    node = segment;
  }
}

/** The value of the first text at or below a node. */
function firstValue(words: Int32Array, start: number): number {
  for (let node = start; ; ) {
    const head = words[node] ?? 0;
    if ((head & (HAS_EXACT | HAS_PREFIX)) !== 0) return words[node + 1] ?? NONE;
    if ((head & HAS_CHILDREN) === 0) return NONE;
    if ((head & IS_WIDE) !== 0)
      return firstInTable(words, node, head, (words[labelOf(node, head) - 1] ?? 0) >> SPAN_BITS);
    // A table begins with a child, and so do pairs.
    const first = childrenOf(node, head);
    const child = words[(head & IS_SPARSE) === 0 ? first : first + 1] ?? NONE;
    if (child <= LAST) return LAST - child;
    if (child < 0) return NONE;
    node = child;
  }
}

/** The value of the first text of a wide node that goes on with the character, or of all of them. */
function firstInTable(words: Int32Array, node: number, head: number, code: number): number {
  const rows = childrenOf(node, head);
  const first = words[labelOf(node, head) - 1] ?? 0;
  const length = (words[rows] ?? 0) & SPAN_MASK;
  const row = code - (first >> SPAN_BITS);
  const isRow = row >= 0 && row < (first & SPAN_MASK);
  for (const start of isRow ? [row, 0] : [0])
    for (let at = rows + 1 + start * length; at < rows + 1 + (first & SPAN_MASK) * length; at++) {
      const child = words[at] ?? NONE;
      if (child <= LAST) return LAST - child;
      if (child >= 0) return firstValue(words, child);
    }
  return NONE;
}
