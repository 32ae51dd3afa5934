import type { CoverValue } from "../authz/cover-values.ts";
import { type FieldModel, isIdentity, isToken, type PolicyModel, type RuleModel } from "../authz/policy-model.ts";
import type { PolicyMode } from "../authz/policy-options.ts";
import { coverMaker, type FieldMeanings } from "../authz/rule-cover.ts";
import type { Warning } from "../core/errors.ts";

/** How the message of a value ends that adds nothing, whatever our trust domain is called: it can be removed. */
export const ADDS_NOTHING = "adds nothing: another value of the list matches whatever it matches";

/** Of a path that is no copy of another one: whether apps may read a request's path in two ways is asked for each value that there is, so without it
 *  some requests are let through that were answered with 400. */
const ADDS_REFUSALS =
  "matches nothing that another value of the list does not match; what it adds is that paths are refused which it would match if read in another way";

/** Values that another value of their field covers; of two that mean the same, the later one. Its place in the file is found by its number.
 *  `home`: our trust domain and its aliases. */
export function repeatedValues(
  policy: PolicyModel,
  rule: RuleModel,
  mode: PolicyMode,
  home: readonly string[],
): readonly Warning[] {
  const comparesReadings = mode === "strict" || policy.direction === "OUTBOUND";
  const found: Warning[] = [];
  for (const groups of [rule.sources, rule.operations, [rule.conditions]])
    for (const group of groups)
      for (const field of group) {
        // A lone star that is negated means more than one among others does.
        const isSpecial =
          field.negated && (isIdentity(field.kind) || isToken(field.kind)) && field.values.includes("*");
        if (field.values.length > 1 && !isSpecial)
          found.push(...repeatedIn(field, policy.ours, comparesReadings, home));
      }
  return found;
}

function repeatedIn(
  field: FieldModel,
  ours: boolean,
  comparesReadings: boolean,
  home: readonly string[],
): readonly Warning[] {
  const anywhere = coveredValues(field, coverMaker([]).meanings(field, ours));
  const here = home.length === 0 ? anywhere : coveredValues(field, coverMaker(home).meanings(field, ours));
  return field.values.flatMap((value, i) => {
    // One that was added stands in no file.
    if (!here.has(i) || (field.written !== undefined && i >= field.written.length)) return [];
    const finding = (why: string, fix: string): Warning => {
      const message = `${field.label}[${i}] ${JSON.stringify(field.written?.[i] ?? value)} ${why}`;
      return { code: "W_POLICY_VALUE_REPEATED", message, at: field.at, fix };
    };
    const isCopy = field.values.indexOf(value) < i;
    if (comparesReadings && field.kind === "path" && !isCopy)
      return [finding(ADDS_REFUSALS, "remove it, unless these are to be refused")];
    const why = anywhere.has(i) ? ADDS_NOTHING : `${ADDS_NOTHING} as long as ${home.join(", ")} are one trust domain`;
    return [finding(why, "remove it")];
  });
}

/** The numbers of values that another one covers. */
function coveredValues(field: FieldModel, { scale, values }: FieldMeanings): ReadonlySet<number> {
  const owners = new Map<CoverValue, number[]>();
  for (const [i, meanings] of values.entries())
    for (const meaning of meanings) {
      const some = owners.get(meaning);
      if (some === undefined) owners.set(meaning, [i]);
      else some.push(i);
    }
  const wider = (value: CoverValue | undefined) =>
    value === undefined
      ? []
      : scale.wider(value).filter((one) => one === value || field.negated || !one.reachesHomeOnly);
  const covers = (j: number, i: number): boolean =>
    (values[i] ?? []).every((meaning) => wider(meaning).some((one) => values[j]?.includes(one) === true));
  const isCovered = (i: number): boolean => {
    for (const one of wider(values[i]?.[0]))
      for (const j of owners.get(one) ?? []) if (j !== i && covers(j, i) && (j < i || !covers(i, j))) return true;
    return false;
  };
  return new Set(field.values.keys().filter(isCovered));
}
