import { checkKeys, type KeyContext } from "./check-keys.ts";
import type { Findings } from "./findings.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { asList, asMap, asText, childOf, entryOf, refuseUnknownKeys } from "./yaml-access.ts";
import type { YamlMap } from "./yaml-documents.ts";

/** What Kubernetes writes into metadata. Only name, namespace, annotations and creationTimestamp mean something here. */
const METADATA_KEYS = [
  "name",
  "namespace",
  "annotations",
  "labels",
  "creationTimestamp",
  "finalizers",
  "generateName",
  "generation",
  "managedFields",
  "ownerReferences",
  "resourceVersion",
  "selfLink",
  "uid",
];

export interface Metadata {
  readonly name: string;
  readonly namespace: string;
  readonly createdAtMs: number | undefined;
}

/** Reads the metadata of any kind. undefined when there is no usable name; why is in `findings`. */
export function readMetadata(map: YamlMap, options: PolicyOptions, findings: Findings): Metadata | undefined {
  const metadata = asMap(childOf(map, "metadata"), "metadata", findings);
  if (metadata === undefined) {
    if (childOf(map, "metadata") === undefined)
      findings.error(
        "E_POLICY_MISSING",
        map.at,
        "the policy has no metadata",
        "add `metadata:` with name and namespace",
      );
    return undefined;
  }
  refuseUnknownKeys(metadata, "metadata", METADATA_KEYS, findings);
  const name = readName(metadata, "name", 253, /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/, findings);
  if (childOf(metadata, "name") === undefined)
    findings.error("E_POLICY_MISSING", metadata.at, "metadata has no name", "add `name:`");
  const written = readName(metadata, "namespace", 63, /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/, findings);
  if (childOf(metadata, "namespace") === undefined && options.mode === "strict") {
    const fix = "add `namespace:`: without it nobody can say which workloads the policy is for";
    findings.error("E_POLICY_MISSING", metadata.at, "metadata has no namespace", fix);
  }
  if (name === undefined) return undefined;
  return { name, namespace: written ?? "default", createdAtMs: createdAt(metadata, findings) };
}

function createdAt(metadata: YamlMap, findings: Findings): number | undefined {
  const text = asText(childOf(metadata, "creationTimestamp"), "metadata.creationTimestamp", findings);
  if (text === undefined) return undefined;
  const time = Date.parse(text.text);
  if (!Number.isNaN(time)) return time;
  findings.error(
    "E_POLICY_TYPE",
    text.at,
    "metadata.creationTimestamp is no time",
    "write it like 2026-01-31T12:00:00Z, or remove it",
  );
  return undefined;
}

function readName(
  metadata: YamlMap,
  key: "name" | "namespace",
  maxLength: number,
  form: RegExp,
  findings: Findings,
): string | undefined {
  const value = asText(childOf(metadata, key), `metadata.${key}`, findings);
  if (value === undefined || (value.text.length <= maxLength && form.test(value.text))) return value?.text;
  const message = `metadata.${key} ${JSON.stringify(value.text.slice(0, 260))} is no name that Kubernetes takes`;
  findings.error(
    "E_POLICY_NAME",
    value.at,
    message,
    `use at most ${maxLength} of a-z 0-9 and -${key === "name" ? " ." : ""}`,
  );
  return undefined;
}

/** spec.selector.matchLabels; empty: every workload. */
export function readSelector(spec: YamlMap | undefined, context: KeyContext): ReadonlyMap<string, string> {
  const { findings } = context;
  const selector = asMap(childOf(spec, "selector"), "spec.selector", findings);
  if (selector === undefined) return new Map();
  checkKeys(selector, "spec.selector", ["matchLabels"], context);
  const labels = asMap(childOf(selector, "matchLabels"), "spec.selector.matchLabels", findings);
  const read = new Map<string, string>();
  for (const { key, at, value } of labels?.entries ?? []) {
    const label = `spec.selector.matchLabels[${JSON.stringify(key)}]`;
    if (value.kind === "text" && value.text === "") read.set(key, "");
    else {
      const text = asText(value, label, findings)?.text;
      if (text !== undefined) read.set(key, text);
      if (value.kind === "null")
        findings.error("E_POLICY_SELECTOR", at, `${label} has no value`, "write the label's value");
    }
    if (key === "" || `${key}${read.get(key) ?? ""}`.includes("*"))
      findings.error("E_POLICY_SELECTOR", at, `${label} has a star or no name`, "write the exact label");
  }
  return read;
}

/** Whether targetRefs bind the document to a gateway. strict: an error, for what nobody applies fails open. An empty list binds it to nothing, as in
 *  Istio; strict refuses that too. */
export function refersElsewhere(spec: YamlMap | undefined, { findings, options }: KeyContext): boolean {
  const refs = asList(childOf(spec, "targetRefs"), "spec.targetRefs", findings);
  const ref = asMap(childOf(spec, "targetRef"), "spec.targetRef", findings);
  const listAt = entryOf(spec, "targetRefs")?.at;
  if (options.mode === "strict" && refs?.length === 0 && listAt !== undefined)
    findings.error("E_POLICY_EMPTY", listAt, "spec.targetRefs is an empty list", "remove it");
  const entry = entryOf(spec, refs !== undefined && refs.length > 0 ? "targetRefs" : "targetRef");
  if (entry === undefined || ((refs === undefined || refs.length === 0) && ref === undefined)) return false;
  if (childOf(spec, "selector") !== undefined)
    findings.error("E_POLICY_COMBINATION", entry.at, `spec.${entry.key} beside spec.selector`, "keep the selector");
  const named = childOf(asMap(refs?.[0] ?? ref, `spec.${entry.key}`, findings), "kind");
  const kind = named?.kind === "text" && /^[A-Za-z]{1,63}$/.test(named.text) ? `a ${named.text}` : "a gateway";
  const message = `spec.${entry.key} binds the policy to ${kind}, so it does not apply to this sidecar`;
  const fix = "leave it to the gateway or waypoint that it is for, or bind it to this workload by selector.matchLabels";
  if (options.mode === "strict") findings.error("E_POLICY_TARGET_REFS", entry.at, message, fix);
  else findings.warn("W_POLICY_TARGET_REFS", entry.at, message, fix);
  return true;
}
