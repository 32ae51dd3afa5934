import type { FieldGroup, RuleModel } from "./policy-model.ts";

/** Finds the rules that may match all that another one matches, without asking each of all others: what a policy with many rules mostly has is
 *  rules of different paths, and a path without a star covers itself alone. What it leaves out covers nothing (`ruleCovers`). */
export interface WiderRules {
  /** Two lists, each in the order of the rules. */
  readonly candidates: (narrow: RuleModel) => readonly [readonly RuleModel[], readonly RuleModel[]];
}

const NONE: readonly RuleModel[] = [];

export function widerRules(rules: readonly RuleModel[]): WiderRules {
  const byPath = new Map<string, RuleModel[]>();
  const others: RuleModel[] = [];
  for (const rule of rules) {
    const paths = literalPaths(rule);
    if (paths === undefined) others.push(rule);
    else for (const path of new Set(paths)) addTo(byPath, path, rule);
  }
  return {
    candidates(narrow) {
      // Each of its operations must be covered, so any one tells.
      const [first] = narrow.operations;
      const path = first === undefined ? undefined : pathsOf(first)?.[0];
      return [others, path === undefined ? NONE : (byPath.get(path) ?? NONE)];
    },
  };
}

function addTo(byPath: Map<string, RuleModel[]>, path: string, rule: RuleModel): void {
  const some = byPath.get(path);
  if (some === undefined) byPath.set(path, [rule]);
  else some.push(rule);
}

function pathsOf(group: FieldGroup): readonly string[] | undefined {
  return group.find(({ kind, negated }) => kind === "path" && !negated)?.values;
}

/** All paths of a rule that can only match these. */
function literalPaths({ operations }: RuleModel): readonly string[] | undefined {
  const all: string[] = [];
  for (const group of operations) {
    const paths = pathsOf(group);
    if (paths === undefined || paths.some((path) => path.includes("*") || path.includes("{"))) return undefined;
    for (const path of paths) all.push(path);
  }
  return operations.length === 0 ? undefined : all;
}
