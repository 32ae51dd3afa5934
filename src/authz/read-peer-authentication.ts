import type { SourcePosition } from "../core/errors.ts";
import type { MtlsSetting, PeerAuthenticationModel } from "./authentication-model.ts";
import { checkKeys, checkWritten } from "./check-keys.ts";
import type { DocumentContext } from "./read-document.ts";
import { readSelector } from "./read-metadata.ts";
import { asMap, asText, childOf, entryOf } from "./yaml-access.ts";
import type { YamlMap, YamlValue } from "./yaml-documents.ts";

const MODES: readonly MtlsSetting[] = ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"];

/** Reads the spec of a PeerAuthentication (authorization, section 8). */
export function readPeerAuthentication(
  spec: YamlMap | undefined,
  head: {
    readonly name: string;
    readonly namespace: string;
    readonly createdAtMs: number | undefined;
    readonly at: SourcePosition;
  },
  context: DocumentContext,
): PeerAuthenticationModel {
  const { findings, options } = context;
  if (spec !== undefined) checkKeys(spec, "spec", ["selector", "mtls", "portLevelMtls"], context);
  const written = readSelector(spec, context);
  const isRoot = head.namespace === options.rootNamespace;
  const selectorAt = entryOf(spec, "selector")?.at ?? head.at;
  if (isRoot && written.size > 0) {
    const message = `the selector of ${head.namespace}/${head.name} is ignored, for it stands in the root namespace`;
    const fix = "remove the selector, or move the document to the workload's namespace";
    if (options.mode === "strict") findings.error("E_POLICY_COMBINATION", selectorAt, message, fix);
    else findings.warn("W_POLICY_SELECTOR", selectorAt, message, fix);
  }
  const ports = asMap(childOf(spec, "portLevelMtls"), "spec.portLevelMtls", findings);
  if (ports !== undefined && written.size === 0) {
    const fix = "add selector.matchLabels, or set spec.mtls for the whole namespace";
    const at = entryOf(spec, "portLevelMtls")?.at ?? head.at;
    findings.error("E_POLICY_COMBINATION", at, "spec.portLevelMtls without a selector", fix);
  }
  if (ports?.entries.length === 0)
    findings.error("E_POLICY_EMPTY", ports.at, "spec.portLevelMtls is empty", "give it ports, or remove it");
  const portLevel = new Map<number, MtlsSetting>();
  for (const entry of ports?.entries ?? []) {
    const { key, at, value } = entry;
    checkWritten(entry, "spec.portLevelMtls", context);
    if (!/^[1-9][0-9]{0,4}$/.test(key) || Number(key) > 65_535) {
      const message = `spec.portLevelMtls: ${JSON.stringify(key.slice(0, 200))} is no port`;
      findings.error("E_POLICY_PORT", at, message, "write a number from 1 to 65535");
    } else portLevel.set(Number(key), readMode(value, `spec.portLevelMtls[${key}]`, context));
  }
  return {
    ...head,
    selector: isRoot ? new Map() : written,
    mtls: readMode(childOf(spec, "mtls"), "spec.mtls", context),
    portLevel,
  };
}

function readMode(value: YamlValue | undefined, label: string, context: DocumentContext): MtlsSetting {
  const { findings } = context;
  const map = asMap(value, label, findings);
  if (map === undefined) return "UNSET";
  checkKeys(map, label, ["mode"], context);
  const mode = asText(childOf(map, "mode"), `${label}.mode`, findings);
  if (mode === undefined) return "UNSET";
  const known = MODES.find((candidate) => candidate === mode.text);
  if (known !== undefined) return known;
  const message = `${label}.mode ${JSON.stringify(mode.text.slice(0, 200))} does not exist`;
  findings.error("E_POLICY_TYPE", mode.at, message, `write one of ${MODES.join(", ")}`);
  return "STRICT";
}
