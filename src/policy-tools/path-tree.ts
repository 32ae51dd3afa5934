import { CountersignError } from "../core/errors.ts";

/** What was seen of one method on one path. */
export interface Evidence {
  calls: number;
  firstTime: string;
  lastTime: string;
  /** A path as it was called. */
  readonly example: string;
}

/** Paths that were called, by their segments. Segments that look like ids, or that come in too many forms, become `{*}`. */
export interface PathTree {
  add(method: string, path: string, time: string): void;
  /** Every path or template with what was seen of it, in order. */
  patterns(): readonly PathPattern[];
}

export interface PathPattern {
  /** As `paths` of a policy takes it. */
  readonly path: string;
  readonly methods: ReadonlyMap<string, Evidence>;
  /** What the template would also match although it was seen apart from it: to be taken away by `notPaths`. */
  readonly except: readonly string[];
}

export interface PathTreeOptions {
  /** How many different ids at one place make a template. Infinity: none ever does. */
  readonly idsForTemplate: number;
  /** How many different names at one place make a template. */
  readonly namesForTemplate: number;
  /** Shared by the trees of one run: nodes that may still be made. */
  readonly budget: { nodes: number };
}

interface Node {
  readonly literals: Map<string, Node>;
  /** How many of the literals look like ids. */
  ids: number;
  star: Node | undefined;
  /** Names, not ids, go to the star as well. */
  takesNames: boolean;
  readonly methods: Map<string, Evidence>;
}

const ID = [
  /^\d+$/,
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
  /^(?=.*\d)[0-9a-f]{8,}$/i,
  /^[0-9A-HJKMNP-TV-Z]{26}$/,
  /^[A-Za-z]{1,12}[-_]\d+$/,
  /^\d{4}-\d\d(?:-\d\d)?$/,
  /^(?=.*\d)(?=.*[A-Z])(?=.*[a-z])[A-Za-z0-9_-]{16,}$/,
];

/** What literal segments of a template may have (authz/path-template.ts), and the slashes between them. */
const TEMPLATE_CHARS = /^[A-Za-z0-9\-._~%!$&'()+,;:@=/]*$/;

/** Whether a segment looks like the name of one thing among many: a number, UUID, hash, ULID, `ord_17`, a date, a random token. */
export function looksLikeId(segment: string): boolean {
  return ID.some((form) => form.test(segment));
}

export function pathTree(options: PathTreeOptions): PathTree {
  const { budget, idsForTemplate, namesForTemplate } = options;
  const root = newNode(budget);
  /** Paths with characters that a template may not have. */
  const exact = new Map<string, Node>();

  function step(node: Node, segment: string): Node {
    const known = node.literals.get(segment);
    if (known !== undefined) return known;
    const isId = looksLikeId(segment);
    // `{*}` stands for at least one character.
    if (node.star !== undefined && segment !== "" && (isId || node.takesNames)) return node.star;
    const made = newNode(budget);
    node.literals.set(segment, made);
    if (isId) node.ids++;
    if (isId && node.ids >= idsForTemplate) collapse(node, looksLikeId);
    else if (node.literals.size - node.ids > namesForTemplate) {
      node.takesNames = true;
      collapse(node, (other) => other !== "");
    }
    return node.literals.get(segment) ?? node.star ?? made;
  }

  function collapse(node: Node, isMeant: (segment: string) => boolean): void {
    const star = node.star ?? newNode(budget);
    node.star = star;
    node.ids = 0;
    for (const [segment, child] of node.literals) {
      if (!isMeant(segment)) continue;
      node.literals.delete(segment);
      budget.nodes++;
      merge(star, child);
    }
  }

  function merge(into: Node, from: Node): void {
    for (const [method, evidence] of from.methods) {
      const known = into.methods.get(method);
      if (known === undefined) into.methods.set(method, evidence);
      else {
        known.calls += evidence.calls;
        if (evidence.firstTime < known.firstTime) known.firstTime = evidence.firstTime;
        if (evidence.lastTime > known.lastTime) known.lastTime = evidence.lastTime;
      }
    }
    if (from.takesNames) into.takesNames = true;
    for (const [segment, child] of from.literals) {
      budget.nodes++;
      merge(step(into, segment), child);
    }
    if (from.star === undefined) return;
    if (into.star === undefined) into.star = from.star;
    else {
      budget.nodes++;
      merge(into.star, from.star);
    }
  }

  function nodeOf(path: string): Node {
    let node = root;
    if (TEMPLATE_CHARS.test(path)) {
      for (const segment of path.split("/").slice(1)) node = step(node, segment);
      return node;
    }
    node = exact.get(path) ?? newNode(budget);
    exact.set(path, node);
    return node;
  }

  return {
    add(method, path, time) {
      const node = nodeOf(path);
      const known = node.methods.get(method);
      if (known === undefined)
        node.methods.set(method, { calls: 1, firstTime: time, lastTime: time, example: path.slice(0, 200) });
      else {
        known.calls++;
        if (time < known.firstTime) known.firstTime = time;
        if (time > known.lastTime) known.lastTime = time;
      }
    },
    patterns: () => [
      ...patternsOf(root, [], []),
      ...[...exact].map(([path, { methods }]) => ({ path, methods, except: [] })),
    ],
  };
}

function newNode(budget: { nodes: number }): Node {
  if (budget.nodes-- <= 0)
    throw new CountersignError("E_POLICY_SUGGEST_SIZE", "the calls have too many different paths to keep in memory");
  return { literals: new Map(), ids: 0, star: undefined, takesNames: false, methods: new Map() };
}

/** `siblings`: for each segment of `path` that is a star, the literals beside it. */
function* patternsOf(
  node: Node,
  path: readonly string[],
  siblings: readonly (readonly string[])[],
): Generator<PathPattern> {
  if (node.methods.size > 0) {
    const except = path.flatMap((_, at) =>
      (siblings[at] ?? []).map((literal) => `/${path.toSpliced(at, 1, literal).join("/")}`),
    );
    yield { path: `/${path.join("/")}`, methods: node.methods, except };
  }
  for (const [segment, child] of [...node.literals].toSorted(([a], [b]) => (a < b ? -1 : 1)))
    yield* patternsOf(child, [...path, segment], [...siblings, []]);
  if (node.star === undefined) return;
  const beside = [...node.literals.keys()].filter((literal) => literal !== "").toSorted();
  yield* patternsOf(node.star, [...path, "{*}"], [...siblings, beside]);
}
