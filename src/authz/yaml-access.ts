import type { SourcePosition } from "../core/errors.ts";
import type { Findings } from "./findings.ts";
import type { YamlEntry, YamlMap, YamlValue } from "./yaml-documents.ts";

/** A text of a policy with its place. */
export interface LocatedText {
  readonly text: string;
  readonly at: SourcePosition;
}

/** The value as a mapping; anything else is reported. `null` counts as absent, as it does for Kubernetes. */
export function asMap(value: YamlValue | undefined, label: string, findings: Findings): YamlMap | undefined {
  if (value === undefined || value.kind === "null") return undefined;
  if (value.kind === "map") return value;
  wrongKind(value, label, "a mapping (key: value)", findings);
  return undefined;
}

/** The items of a list, or undefined when it is absent or no list (reported). */
export function asList(
  value: YamlValue | undefined,
  label: string,
  findings: Findings,
): readonly YamlValue[] | undefined {
  if (value === undefined || value.kind === "null") return undefined;
  if (value.kind === "list") return value.items;
  wrongKind(value, label, "a list (each item after a -)", findings);
  return undefined;
}

/** A text that is not empty, or undefined when it is absent or wrong (reported). */
export function asText(value: YamlValue | undefined, label: string, findings: Findings): LocatedText | undefined {
  if (value === undefined) return undefined;
  if (value.kind === "text") {
    if (value.text !== "") return value;
    findings.error("E_POLICY_EMPTY", value.at, `${label} is an empty text`, "write a value, or remove it");
  } else if (value.kind === "bare") {
    const fix = `put it in quotes: "${value.text}"`;
    findings.error("E_POLICY_TYPE", value.at, `${label} is ${value.text}, which YAML reads as no text`, fix);
  } else wrongKind(value, label, "a text", findings);
  return undefined;
}

function wrongKind(value: YamlValue, label: string, wanted: string, findings: Findings): void {
  const kinds = { map: "a mapping", list: "a list", text: "a text", bare: "a number or boolean", null: "nothing" };
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

export function refuseKey(entry: YamlEntry, label: string, known: readonly string[], findings: Findings): void {
  const plain = (key: string) => key.toLowerCase().replace(/s$/, "");
  const meant = known.find((candidate) => plain(candidate) === plain(entry.key));
  const fix = meant === undefined ? `remove it; known here: ${known.join(", ")}` : `did you mean "${meant}"?`;
  findings.error("E_POLICY_UNKNOWN_KEY", entry.at, `${label} has no key ${JSON.stringify(entry.key)}`, fix);
}
