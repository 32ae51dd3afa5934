import type { RuleId } from "../core/decision.ts";
import { matcherPool } from "./compile-field.ts";
import { compileRule } from "./compile-rule.ts";
import type { CompiledRule } from "./compiled-policy.ts";
import { type PackedTexts, packTexts, textAt } from "./packed-texts.ts";
import type { FieldGroup, FieldModel, PolicyModel, RuleModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import type { RuleStore } from "./rule-store.ts";
import { homeTrustDomains } from "./trust-domains.ts";

/** Rules as texts, in memory that threads share: nothing for a garbage collector to look at. */
export interface PackedRules {
  readonly ids: PackedTexts;
  readonly rules: PackedTexts;
  readonly policies: PackedTexts;
  /** Number of the first rule of each policy, and how many rules there are. */
  readonly firstRules: Int32Array;
}

// Places in texts follow those of the types; what is undefined is null.
type WrittenField = readonly [
  FieldModel["kind"],
  boolean,
  readonly string[],
  string,
  FieldModel["claim"] | null,
  FieldModel["requestPrincipals"] | null,
  string,
  number | null,
  number | null,
];
type WrittenGroup = readonly WrittenField[];
type WrittenRule = readonly [
  number,
  readonly WrittenGroup[],
  readonly WrittenGroup[],
  WrittenGroup,
  readonly [string, number | null, number | null] | null,
  number | null,
  number | null,
];
type WrittenPolicy = Omit<PolicyModel, "rules" | "selector" | "provider"> & {
  readonly provider: string | null;
  readonly selector: readonly (readonly [string, string])[];
};

export function packRules(policies: readonly PolicyModel[], rules: readonly CompiledRule[]): PackedRules {
  const firstRules = new Int32Array(new SharedArrayBuffer((policies.length + 1) * Int32Array.BYTES_PER_ELEMENT));
  for (const [i, policy] of policies.entries()) firstRules[i + 1] = (firstRules[i] ?? 0) + policy.rules.length;
  return {
    ids: packTexts(rules.map(({ id }) => id)),
    rules: packTexts(rules.map(({ model }) => writeRule(model))),
    policies: packTexts(policies.map(writePolicy)),
    firstRules,
  };
}

function writePolicy({ selector, provider, ...policy }: PolicyModel): string {
  const written: WrittenPolicy = { ...policy, provider: provider ?? null, selector: [...selector] };
  return JSON.stringify({ ...written, rules: undefined });
}

function writeRule({ index, sources, operations, conditions, expression, at }: RuleModel): string {
  const place = expression?.at;
  const written: WrittenRule = [
    index,
    sources.map(writeGroup),
    operations.map(writeGroup),
    writeGroup(conditions),
    expression === undefined ? null : [expression.text, place?.line ?? null, place?.column ?? null],
    at.line ?? null,
    at.column ?? null,
  ];
  return JSON.stringify(written);
}

function writeGroup(group: FieldGroup): WrittenGroup {
  return group.map(({ kind, negated, values, header, claim, requestPrincipals, label, at }) => [
    kind,
    negated,
    values,
    header,
    claim ?? null,
    requestPrincipals ?? null,
    label,
    at.line ?? null,
    at.column ?? null,
  ]);
}

function place(file: string, line: number | null, column: number | null): FieldModel["at"] {
  return { file, ...(line === null ? {} : { line }), ...(column === null ? {} : { column }) };
}

function readRule(text: string, file: string): RuleModel {
  const [index, sources, operations, conditions, expression, line, column] = JSON.parse(text) as WrittenRule;
  const readGroup = (group: WrittenGroup): FieldGroup => group.map((field) => readField(field, file));
  return {
    index,
    sources: sources.map(readGroup),
    operations: operations.map(readGroup),
    conditions: readGroup(conditions),
    expression:
      expression === null ? undefined : { text: expression[0], at: place(file, expression[1], expression[2]) },
    at: place(file, line, column),
  };
}

function readField(written: WrittenField, file: string): FieldModel {
  const [kind, negated, values, header, claim, requestPrincipals, label, line, column] = written;
  return {
    kind,
    negated,
    values,
    header,
    ...(claim === null || claim === undefined ? {} : { claim }),
    ...(requestPrincipals === null || requestPrincipals === undefined ? {} : { requestPrincipals }),
    label,
    at: place(file, line, column),
  };
}

/** Rules that were packed with these options: each is read and compiled when it is first asked for, and kept from then on. `keptAnswers` is that of
 *  the set. Rules with expressions need celLibraries(). */
export function openPackedRules(packed: PackedRules, options: PolicyOptions, keptAnswers: number): RuleStore {
  const { firstRules } = packed;
  const count = packed.rules.starts.length - 1;
  const ids: (RuleId | undefined)[] = Array.from({ length: count });
  const rules: (CompiledRule | undefined)[] = Array.from({ length: count });
  const policies: (PolicyModel | undefined)[] = [];
  const pool = matcherPool(keptAnswers);
  const home = homeTrustDomains(options);
  const policyAt = (number: number): PolicyModel => {
    const known = policies[number];
    if (known !== undefined) return known;
    const { provider, selector, ...rest } = JSON.parse(textAt(packed.policies, number)) as WrittenPolicy;
    let own: readonly RuleModel[] | undefined;
    const policy: PolicyModel = {
      ...rest,
      provider: provider ?? undefined,
      selector: new Map(selector),
      get rules() {
        own ??= Array.from({ length: (firstRules[number + 1] ?? 0) - (firstRules[number] ?? 0) }, (_, i) =>
          readRule(textAt(packed.rules, (firstRules[number] ?? 0) + i), rest.at.file),
        );
        return own;
      },
    };
    policies[number] = policy;
    return policy;
  };
  return {
    count,
    get policies() {
      return Array.from({ length: firstRules.length - 1 }, (_, number) => policyAt(number));
    },
    idOf(rule) {
      const known = ids[rule];
      if (known !== undefined) return known;
      const id = textAt(packed.ids, rule) as RuleId;
      ids[rule] = id;
      return id;
    },
    ruleAt(rule) {
      const known = rules[rule];
      if (known !== undefined) return known;
      const policy = policyAt(policyOf(firstRules, rule));
      const model = readRule(textAt(packed.rules, rule), policy.at.file);
      const compiled = compileRule(policy, model, rule, options, home, pool);
      rules[rule] = compiled;
      return compiled;
    },
  };
}

/** Number of the policy in which a rule stands: the last one that begins at or before it and is not empty. */
function policyOf(firstRules: Int32Array, rule: number): number {
  let [low, high] = [0, firstRules.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((firstRules[middle] ?? 0) <= rule) low = middle;
    else high = middle;
  }
  return low;
}
