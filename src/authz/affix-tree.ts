/** A radix tree over the beginnings (or the ends) of texts. A lookup walks the text once, however many entries there are,
 *  and allocates nothing. */
export interface AffixTree<T> {
  readonly fromEnd: boolean;
  readonly root: AffixNode<T>;
}

export interface AffixNode<T> {
  /** What this node adds to the affix of its parent, in reading order. Not empty but at the root. */
  label: string;
  value: T | undefined;
  /** By the first character of the label (the last one when `fromEnd`). */
  children: Map<number, AffixNode<T>> | undefined;
}

/** Builds a tree from non-empty affixes, each with its value; `fromEnd` for suffixes. */
export function affixTree<T>(entries: Iterable<readonly [affix: string, value: T]>, fromEnd: boolean): AffixTree<T> {
  const root: AffixNode<T> = { label: "", value: undefined, children: undefined };
  for (const [affix, value] of entries) insert(root, affix, value, fromEnd);
  return { fromEnd, root };
}

function firstCode(text: string, fromEnd: boolean): number {
  return text.charCodeAt(fromEnd ? text.length - 1 : 0);
}

/** How many characters two texts share at the start (or at the end). */
function sharedLength(a: string, b: string, fromEnd: boolean): number {
  const most = Math.min(a.length, b.length);
  let shared = 0;
  while (
    shared < most &&
    (fromEnd
      ? a.charCodeAt(a.length - 1 - shared) === b.charCodeAt(b.length - 1 - shared)
      : a.charCodeAt(shared) === b.charCodeAt(shared))
  )
    shared++;
  return shared;
}

function insert<T>(root: AffixNode<T>, affix: string, value: T, fromEnd: boolean): void {
  const near = (text: string, length: number) => (fromEnd ? text.slice(text.length - length) : text.slice(0, length));
  const far = (text: string, length: number) => (fromEnd ? text.slice(0, text.length - length) : text.slice(length));
  let node = root;
  let rest = affix;
  while (rest !== "") {
    node.children ??= new Map();
    const code = firstCode(rest, fromEnd);
    const child = node.children.get(code);
    if (child === undefined) {
      node.children.set(code, { label: rest, value, children: undefined });
      return;
    }
    const shared = sharedLength(rest, child.label, fromEnd);
    if (shared < child.label.length) {
      const lower: AffixNode<T> = { ...child, label: far(child.label, shared) };
      child.label = near(child.label, shared);
      child.value = undefined;
      child.children = new Map([[firstCode(lower.label, fromEnd), lower]]);
    }
    node = child;
    rest = far(rest, shared);
  }
  node.value = value;
}

/** One step of a lookup: the child of `node` that the text continues with after `used` characters, or undefined. The caller
 *  adds the length of its label to `used`. */
export function nextAffix<T>(
  tree: AffixTree<T>,
  node: AffixNode<T>,
  text: string,
  used: number,
): AffixNode<T> | undefined {
  if (node.children === undefined || used >= text.length) return undefined;
  const at = tree.fromEnd ? text.length - used : used;
  const child = node.children.get(text.charCodeAt(tree.fromEnd ? at - 1 : at));
  if (child === undefined) return undefined;
  const fits = tree.fromEnd ? text.endsWith(child.label, at) : text.startsWith(child.label, at);
  return fits ? child : undefined;
}
