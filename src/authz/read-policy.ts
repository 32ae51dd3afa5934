import type { SourcePosition } from "../core/errors.ts";
import { checkKeys } from "./check-keys.ts";
import type { PolicyAction, PolicyModel, RuleModel } from "./policy-model.ts";
import type { DocumentContext } from "./read-document.ts";
import { readSelector, refersElsewhere } from "./read-metadata.ts";
import { readRule } from "./read-rule.ts";
import { asList, asMap, asText, childOf, entryOf } from "./yaml-access.ts";
import type { YamlMap } from "./yaml-documents.ts";

const ACTIONS: readonly PolicyAction[] = ["ALLOW", "DENY", "AUDIT", "CUSTOM"];
/** Istio's limit. */
const MAX_RULES = 512;
/** `- ` with nothing after it is null: as a rule it would match everything, so it must be written as {}. */
const NO_RULE = "write {} for a rule that always matches";
const DRY_RUN = "istio.io/dry-run";
/** What Istio reads as true and as false there: Go's strconv.ParseBool. */
const TRUE_TEXTS: readonly string[] = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE_TEXTS: readonly string[] = ["0", "f", "F", "FALSE", "false", "False"];

/** Reads the spec of an AuthorizationPolicy, yielding between rules. The result is undefined when its action is unknown. */
export function* readPolicy(
  document: YamlMap,
  spec: YamlMap | undefined,
  head: { readonly name: string; readonly namespace: string },
  context: DocumentContext,
): Generator<void, PolicyModel | undefined> {
  const { findings, options, ours } = context;
  if (spec !== undefined) {
    const known = [
      "selector",
      "targetRef",
      "targetRefs",
      "action",
      "provider",
      "rules",
      ...(ours ? ["direction"] : []),
    ];
    checkKeys(spec, "spec", known, context);
  }
  const action = readAction(spec, context);
  const provider = readProvider(spec, action, spec?.at ?? document.at, context);
  const direction = readDirection(spec, context);
  const elsewhere = refersElsewhere(spec, context);
  const selector = readSelector(spec, context);
  const dryRun = readDryRun(document, action, context);
  if (action === undefined) return undefined;
  const items = asList(childOf(spec, "rules"), "spec.rules", findings, NO_RULE) ?? [];
  if (items.length > MAX_RULES) {
    const at = entryOf(spec, "rules")?.at ?? document.at;
    findings.error("E_POLICY_LIMIT", at, `spec.rules has more than ${MAX_RULES} rules`, "split the policy");
  }
  const rules: RuleModel[] = [];
  const ruleContext = { options, findings, policyNamespace: head.namespace, action, direction, ours };
  for (const [index, item] of items.entries()) {
    const rule = readRule(item, index, ruleContext);
    if (rule !== undefined) rules.push(rule);
    yield;
  }
  if ((action === "DENY" || action === "CUSTOM") && isEmptyList(spec)) {
    const everything = action === "DENY" ? "deny everything" : "ask about everything";
    const fix = `write rules, or \`rules: [{}]\` to ${everything}`;
    const nothing = action === "DENY" ? "denies nothing" : "asks about nothing";
    findings.error("E_POLICY_NO_RULES", spec?.at ?? document.at, `a ${action} policy without rules ${nothing}`, fix);
  }
  return { ...head, action, direction, provider, dryRun, ours, selector, elsewhere, rules, at: document.at };
}

/** Something else than a list is reported elsewhere. */
function isEmptyList(spec: YamlMap | undefined): boolean {
  const rules = childOf(spec, "rules");
  return rules === undefined || (rules.kind === "list" && rules.items.length === 0);
}

function readAction(spec: YamlMap | undefined, { findings }: DocumentContext): PolicyAction | undefined {
  const action = asText(childOf(spec, "action"), "spec.action", findings);
  if (action === undefined) return childOf(spec, "action") === undefined ? "ALLOW" : undefined;
  const known = ACTIONS.find((candidate) => candidate === action.text);
  if (known !== undefined) return known;
  const message = `spec.action ${JSON.stringify(action.text.slice(0, 200))} does not exist`;
  findings.error("E_POLICY_TYPE", action.at, message, `write one of ${ACTIONS.join(", ")}`);
  return undefined;
}

function readProvider(
  spec: YamlMap | undefined,
  action: PolicyAction | undefined,
  at: SourcePosition,
  context: DocumentContext,
): string | undefined {
  const { findings, options } = context;
  const entry = entryOf(spec, "provider");
  const isWritten = entry !== undefined && entry.value.kind !== "null";
  if (isWritten && action !== "CUSTOM") {
    findings.error("E_POLICY_COMBINATION", entry.at, "spec.provider belongs to action CUSTOM only", "remove it");
    return undefined;
  }
  if (action !== "CUSTOM") return undefined;
  const fix = "add `provider: { name: … }` with a provider of the configuration";
  const provider = asMap(childOf(spec, "provider"), "spec.provider", findings);
  if (provider !== undefined) checkKeys(provider, "spec.provider", ["name"], context);
  const name = asText(childOf(provider, "name"), "spec.provider.name", findings);
  if (name === undefined) {
    if (childOf(provider, "name") === undefined)
      findings.error("E_POLICY_MISSING", provider?.at ?? at, "a CUSTOM policy names no provider", fix);
    return undefined;
  }
  const { providers } = options;
  if (providers !== undefined && !providers.has(name.text)) {
    const message = `provider ${JSON.stringify(name.text.slice(0, 200))} is not configured`;
    const others = providers.size === 0 ? "" : `, or use one that is there (${[...providers.keys()].join(", ")})`;
    const add = `add it under extensionProviders of the configuration${others}`;
    if (options.mode === "strict") findings.error("E_POLICY_PROVIDER", name.at, message, add);
    else findings.warn("W_POLICY_PROVIDER", name.at, `${message}, so every call that matches is denied`, add);
  }
  return name.text;
}

function readDirection(spec: YamlMap | undefined, { findings, ours }: DocumentContext): PolicyModel["direction"] {
  const direction = ours ? asText(childOf(spec, "direction"), "spec.direction", findings) : undefined;
  if (direction === undefined || direction.text === "INBOUND") return "INBOUND";
  if (direction.text !== "OUTBOUND") {
    const message = `spec.direction ${JSON.stringify(direction.text.slice(0, 200))} does not exist`;
    findings.error("E_POLICY_TYPE", direction.at, message, "write INBOUND or OUTBOUND");
  }
  return "OUTBOUND";
}

function readDryRun(document: YamlMap, action: PolicyAction | undefined, { findings }: DocumentContext): boolean {
  const metadata = childOf(document, "metadata");
  if (metadata?.kind !== "map") return false;
  const annotations = asMap(childOf(metadata, "annotations"), "metadata.annotations", findings);
  const dryRun = asText(childOf(annotations, DRY_RUN), `metadata.annotations[${DRY_RUN}]`, findings);
  if (dryRun === undefined || FALSE_TEXTS.includes(dryRun.text)) return false;
  if (!TRUE_TEXTS.includes(dryRun.text)) {
    const message = `${DRY_RUN} is ${JSON.stringify(dryRun.text.slice(0, 200))}`;
    findings.error("E_POLICY_TYPE", dryRun.at, message, 'write "true" or "false"');
  } else if (action === "AUDIT" || action === "CUSTOM") {
    const fix = "remove the annotation, or use ALLOW or DENY";
    findings.error("E_POLICY_COMBINATION", dryRun.at, `${DRY_RUN} does nothing on action ${action}`, fix);
  }
  return true;
}
