import type { Findings } from "./findings.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { refuseUnknownKeys } from "./yaml-access.ts";
import type { YamlEntry, YamlMap } from "./yaml-documents.ts";

/** What decides how a key is taken that is written with nothing after it. */
export interface KeyContext {
  readonly options: Pick<PolicyOptions, "mode">;
  readonly findings: Findings;
  /** Written under countersign.dev/v1. */
  readonly ours: boolean;
}

/** What a policy says without the key. */
const WITHOUT: Readonly<Record<string, string | undefined>> = {
  from: "if every caller is meant",
  to: "if every request is meant",
  when: "if there is no further condition",
  conditions: "if there is no further condition",
  selector: "if every workload of the namespace is meant",
  matchLabels: "if every workload of the namespace is meant",
  rules: "if it is to match nothing",
  action: "if ALLOW is meant",
  direction: "if INBOUND is meant",
  spec: "if it is to allow nothing, and to tighten nothing",
  mtls: "if what is said further up is to hold",
  mode: "if what is said further up is to hold",
  portLevelMtls: "if all ports are alike",
};

/** Reports every key of a mapping below `spec` that is not one of `known`, and every one that is written with nothing after it. */
export function checkKeys(map: YamlMap, label: string, known: readonly string[], context: KeyContext): void {
  refuseUnknownKeys(map, label, known, context.findings);
  for (const entry of map.entries) if (known.includes(entry.key)) checkWritten(entry, label, context);
}

/** An empty list says no more than a key that is not there, and silently widens what it was to narrow: strict refuses it. */
export function checkNotEmpty({ at, value }: YamlEntry, name: string, { findings, options }: KeyContext): void {
  if (options.mode === "strict" && value.kind === "list" && value.items.length === 0)
    findings.error("E_POLICY_EMPTY", at, `${name} is an empty list`, "write values, or remove it");
}

/** A key with nothing after it, or `~` or `null`, mostly has a content that was commented out. Kubernetes drops it, which leaves a rule wider than
 *  its reader thinks, and of a DENY nothing at all: an error in strict mode and under our own apiVersion, a warning in istio mode. */
export function checkWritten({ key, at, value }: YamlEntry, label: string, context: KeyContext): void {
  if (value.kind !== "null") return;
  const { findings, options, ours } = context;
  const name = label === "" ? key : `${label}.${key}`;
  const fix = `write what is meant, or remove the key ${WITHOUT[key] ?? "if nothing is to be said about it"}`;
  if (options.mode === "strict" || ours)
    findings.error("E_POLICY_EMPTY", at, `${name} is written with nothing after it`, fix);
  else
    findings.warn("W_POLICY_EMPTY", at, `${name} is written with nothing after it, so it counts as not written`, fix);
}
