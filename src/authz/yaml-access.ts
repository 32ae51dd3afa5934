import { didYouMean } from "../core/did-you-mean.ts";
import type { SourcePosition } from "../core/errors.ts";
import type { Findings } from "./findings.ts";
import type { YamlEntry, YamlMap, YamlValue } from "./yaml-documents.ts";

/** A text of a policy with its place. */
export interface LocatedText {
  readonly text: string;
  readonly at: SourcePosition;
}

/** The value as a mapping; anything else is reported. `null` counts as absent, as it does for Kubernetes: see checkKeys. */
export function asMap(value: YamlValue | undefined, label: string, findings: Findings): YamlMap | undefined {
  if (value === undefined || value.kind === "null") return undefined;
  if (value.kind === "map") return value;
  wrongKind(value, label, "a mapping (key: value)", findings);
  return undefined;
}

/** The items of a list, or undefined when it is absent or no list (reported). An item that is nothing is reported, with what to do in `fix`, and left
 *  among them: Kubernetes takes none. */
export function asList(
  value: YamlValue | undefined,
  label: string,
  findings: Findings,
  fix = "write a value, or remove it",
): readonly YamlValue[] | undefined {
  if (value === undefined || value.kind === "null") return undefined;
  if (value.kind !== "list") {
    wrongKind(value, label, "a list (each item after a -)", findings);
    return undefined;
  }
  for (const [index, item] of value.items.entries())
    if (item.kind === "null") findings.error("E_POLICY_EMPTY", item.at, `${label}[${index}] is empty`, fix);
  return value.items;
}

/** A text that is not empty, or undefined when it is absent or wrong (reported). */
export function asText(value: YamlValue | undefined, label: string, findings: Findings): LocatedText | undefined {
  if (value === undefined || value.kind === "null") return undefined;
  if (value.kind === "text") {
    if (value.text !== "") return value;
    findings.error("E_POLICY_EMPTY", value.at, `${label} is an empty text`, "write a value, or remove it");
  } else if (value.kind === "bare") {
    const fix = `put it in quotes: "${value.text}"`;
    findings.error("E_POLICY_TYPE", value.at, `${label} is ${value.text}, which YAML reads as no text`, fix);
  } else wrongKind(value, label, "a text", findings);
  return undefined;
}

function wrongKind(
  value: Exclude<YamlValue, { kind: "null" }>,
  label: string,
  wanted: string,
  findings: Findings,
): void {
  const kinds = { map: "a mapping", list: "a list", text: "a text", bare: "a number or boolean" };
  const message = `${label} is ${kinds[value.kind]} where ${wanted} belongs`;
  findings.error("E_POLICY_TYPE", value.at, message, `write ${wanted}`);
}

export function entryOf(map: YamlMap | undefined, key: string): YamlEntry | undefined {
  return map?.entries.find((entry) => entry.key === key);
}

/** The key's value; `null` counts as absent. */
export function childOf(map: YamlMap | undefined, key: string): YamlValue | undefined {
  const value = entryOf(map, key)?.value;
  return value?.kind === "null" ? undefined : value;
}

/** Reports every key that is not one of `known`, with the one that was probably meant. */
export function refuseUnknownKeys(map: YamlMap, label: string, known: readonly string[], findings: Findings): void {
  for (const entry of map.entries) if (!known.includes(entry.key)) refuseKey(entry, label, known, findings);
}

/** To remove a key is the last advice: what was meant to limit a rule limits nothing then. */
export function refuseKey(entry: YamlEntry, label: string, known: readonly string[], findings: Findings): void {
  const meant = known.find((candidate) => isSameKey(candidate, entry.key)) ?? didYouMean(entry.key, known);
  const fix =
    meant === undefined
      ? `write one of ${known.join(", ")}; remove it only if what it was to say is said elsewhere`
      : `did you mean "${meant}"?`;
  findings.error("E_POLICY_UNKNOWN_KEY", entry.at, `${label} has no key ${JSON.stringify(entry.key)}`, fix);
}

/** Whether two keys differ by case or number alone, so that one can only have been written for the other. */
export function isSameKey(one: string, two: string): boolean {
  const plain = (key: string) => key.toLowerCase().replace(/s$/, "");
  return plain(one) === plain(two);
}
