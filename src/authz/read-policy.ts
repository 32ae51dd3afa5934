import type { Findings } from "./findings.ts";
import type { PolicyModel, RuleModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { readRule } from "./read-rule.ts";
import { asList, asMap, asText, childOf, entryOf, refuseUnknownKeys } from "./yaml-access.ts";
import type { YamlMap, YamlValue } from "./yaml-documents.ts";

const API_VERSIONS = ["security.istio.io/v1", "security.istio.io/v1beta1"];
/** Kinds and actions of the format that this version does not build. */
const LATER_KINDS = ["PeerAuthentication", "RequestAuthentication"];
const LATER_ACTIONS = ["AUDIT", "CUSTOM"];
/** Istio's limit. */
const MAX_RULES = 512;
/** What Kubernetes writes into metadata. Only name, namespace and annotations mean something here. */
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
const DRY_RUN = "istio.io/dry-run";

/** Reads one document. Returns undefined when it is of no use; why is in `findings`. */
export function readPolicy(document: YamlValue, options: PolicyOptions, findings: Findings): PolicyModel | undefined {
  const map = asMap(document, "the document", findings);
  if (map === undefined || !isAuthorizationPolicy(map, findings)) return undefined;
  refuseUnknownKeys(map, "the policy", ["apiVersion", "kind", "metadata", "spec", "status"], findings);
  const metadata = readMetadata(map, options, findings);
  const spec = asMap(childOf(map, "spec"), "spec", findings);
  const specAt = spec?.at ?? map.at;
  if (spec !== undefined) {
    const known = ["selector", "targetRef", "targetRefs", "action", "provider", "rules"];
    refuseUnknownKeys(spec, "spec", known, findings);
  }
  const action = readAction(spec, findings);
  const elsewhere = refersElsewhere(spec, options, findings);
  const selector = readSelector(spec, findings);
  if (action === undefined || metadata === undefined) return undefined;
  const rules = readRules(spec, metadata.namespace, options, findings);
  if (action === "DENY" && rules.length === 0 && (childOf(spec, "rules")?.kind ?? "list") === "list") {
    const isEmpty = asList(childOf(spec, "rules"), "spec.rules", findings)?.length ?? 0;
    if (isEmpty === 0) {
      const fix = "write rules, or `rules: [{}]` to deny everything";
      findings.error("E_POLICY_NO_RULES", specAt, "a DENY policy without rules denies nothing", fix);
    }
  }
  return { ...metadata, action, selector, elsewhere, rules, at: map.at };
}

function isAuthorizationPolicy(map: YamlMap, findings: Findings): boolean {
  const apiVersion = asText(childOf(map, "apiVersion"), "apiVersion", findings);
  const kind = asText(childOf(map, "kind"), "kind", findings);
  if (childOf(map, "apiVersion") === undefined)
    findings.error(
      "E_POLICY_MISSING",
      map.at,
      "the document has no apiVersion",
      "add `apiVersion: security.istio.io/v1`",
    );
  if (childOf(map, "kind") === undefined)
    findings.error("E_POLICY_MISSING", map.at, "the document has no kind", "add `kind: AuthorizationPolicy`");
  if (apiVersion === undefined || kind === undefined) return false;
  if (!API_VERSIONS.includes(apiVersion.text)) {
    const message = `apiVersion ${JSON.stringify(apiVersion.text.slice(0, 200))} is not built in this version`;
    findings.error("E_POLICY_UNSUPPORTED", apiVersion.at, message, `use ${API_VERSIONS.join(" or ")}`);
    return false;
  }
  if (kind.text === "AuthorizationPolicy") return true;
  const message = LATER_KINDS.includes(kind.text)
    ? `kind ${kind.text} is not built in this version`
    : `kind ${JSON.stringify(kind.text.slice(0, 200))} is no policy that is known here`;
  const fix = "keep only documents of kind AuthorizationPolicy in the policy files";
  findings.error("E_POLICY_UNSUPPORTED", kind.at, message, fix);
  return false;
}

function readMetadata(
  map: YamlMap,
  options: PolicyOptions,
  findings: Findings,
): { readonly name: string; readonly namespace: string } | undefined {
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
  refuseDryRun(metadata, findings);
  const name = readName(metadata, "name", 253, /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/, findings);
  if (childOf(metadata, "name") === undefined)
    findings.error("E_POLICY_MISSING", metadata.at, "metadata has no name", "add `name:`");
  const written = readName(metadata, "namespace", 63, /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/, findings);
  if (childOf(metadata, "namespace") === undefined && options.mode === "strict") {
    const fix = "add `namespace:`: without it nobody can say which workloads the policy is for";
    findings.error("E_POLICY_MISSING", metadata.at, "metadata has no namespace", fix);
  }
  if (name === undefined) return undefined;
  return { name, namespace: written ?? "default" };
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

function refuseDryRun(metadata: YamlMap, findings: Findings): void {
  const annotations = asMap(childOf(metadata, "annotations"), "metadata.annotations", findings);
  const dryRun = asText(childOf(annotations, DRY_RUN), `metadata.annotations[${DRY_RUN}]`, findings);
  if (dryRun === undefined || dryRun.text === "false") return;
  const fix = "remove the annotation and keep the policy in a folder that is not loaded, until you mean it";
  findings.error("E_POLICY_UNSUPPORTED", dryRun.at, `${DRY_RUN} is not built in this version`, fix);
}

function readAction(spec: YamlMap | undefined, findings: Findings): PolicyModel["action"] | undefined {
  const action = asText(childOf(spec, "action"), "spec.action", findings);
  if (childOf(spec, "provider") !== undefined && action?.text !== "CUSTOM") {
    const at = entryOf(spec, "provider")?.at ?? { file: "" };
    findings.error("E_POLICY_COMBINATION", at, "spec.provider belongs to action CUSTOM only", "remove it");
  }
  if (action === undefined) return childOf(spec, "action") === undefined ? "ALLOW" : undefined;
  if (action.text === "ALLOW" || action.text === "DENY") return action.text;
  if (LATER_ACTIONS.includes(action.text)) {
    const message = `action ${action.text} is not built in this version`;
    findings.error("E_POLICY_UNSUPPORTED", action.at, message, "use ALLOW or DENY, or remove the policy");
  } else {
    const message = `spec.action ${JSON.stringify(action.text.slice(0, 200))} does not exist`;
    findings.error("E_POLICY_TYPE", action.at, message, "write ALLOW or DENY");
  }
  return undefined;
}

/** targetRefs bind a policy to a gateway. strict: an error, for a DENY that nobody applies fails open. */
function refersElsewhere(spec: YamlMap | undefined, options: PolicyOptions, findings: Findings): boolean {
  const entry = [entryOf(spec, "targetRefs"), entryOf(spec, "targetRef")].find(
    (candidate) => candidate !== undefined && candidate.value.kind !== "null",
  );
  if (entry === undefined) return false;
  if (childOf(spec, "selector") !== undefined)
    findings.error("E_POLICY_COMBINATION", entry.at, `spec.${entry.key} beside spec.selector`, "keep the selector");
  const message = `spec.${entry.key} binds the policy to a gateway, so it does not apply to this sidecar`;
  const fix = "bind the policy by selector.matchLabels";
  if (options.mode === "strict") findings.error("E_POLICY_TARGET_REFS", entry.at, message, fix);
  else findings.warn("W_POLICY_TARGET_REFS", entry.at, message, fix);
  return true;
}

function readSelector(spec: YamlMap | undefined, findings: Findings): ReadonlyMap<string, string> {
  const selector = asMap(childOf(spec, "selector"), "spec.selector", findings);
  if (selector === undefined) return new Map();
  refuseUnknownKeys(selector, "spec.selector", ["matchLabels"], findings);
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

function readRules(
  spec: YamlMap | undefined,
  policyNamespace: string,
  options: PolicyOptions,
  findings: Findings,
): readonly RuleModel[] {
  const items = asList(childOf(spec, "rules"), "spec.rules", findings) ?? [];
  if (items.length > MAX_RULES) {
    const at = entryOf(spec, "rules")?.at ?? { file: "" };
    findings.error("E_POLICY_LIMIT", at, `spec.rules has more than ${MAX_RULES} rules`, "split the policy");
  }
  const context = { options, findings, policyNamespace };
  return items.map((item, index) => readRule(item, index, context)).filter((rule) => rule !== undefined);
}
