import type { SourcePosition } from "../core/errors.ts";
import { checkNotEmpty, checkWritten } from "./check-keys.ts";
import { checkValue } from "./check-values.ts";
import type { Findings } from "./findings.ts";
import { cutEscapeValues } from "./path-value.ts";
import {
  type FieldKind,
  type FieldModel,
  isIdentity,
  isToken,
  type PolicyAction,
  type PolicyModel,
  type RequestPrincipalPattern,
} from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { readRequestPrincipal } from "./read-request-principal.ts";
import { asList, asText, type LocatedText, refuseKey } from "./yaml-access.ts";
import type { YamlEntry, YamlMap } from "./yaml-documents.ts";

/** What reading a rule needs to know of its surroundings. */
export interface ReadContext {
  readonly options: PolicyOptions;
  readonly findings: Findings;
  readonly policyNamespace: string;
  readonly action: PolicyAction;
  readonly direction: PolicyModel["direction"];
  /** Written under countersign.dev/v1. */
  readonly ours: boolean;
}

/** Not an Istio number: keeps one field from holding everything. */
const MAX_VALUES = 10_000;
const MAX_SERVICE_ACCOUNTS = 16;

const SOURCE_KINDS: Readonly<Record<string, FieldKind>> = {
  principals: "principal",
  namespaces: "namespace",
  serviceAccounts: "serviceAccount",
  trustDomains: "trustDomain",
  requestPrincipals: "requestPrincipal",
  ipBlocks: "sourceIp",
  remoteIpBlocks: "remoteIp",
};
const OPERATION_KINDS: Readonly<Record<string, FieldKind>> = {
  hosts: "host",
  methods: "method",
  paths: "path",
  ports: "port",
};
/** Besides those of an operation; countersign.dev/v1 only. */
const OUTBOUND_KINDS: Readonly<Record<string, FieldKind>> = {
  principals: "destinationPrincipal",
  ...OPERATION_KINDS,
};

const negatedKey = (key: string) => `not${key.charAt(0).toUpperCase()}${key.slice(1)}`;
const withNegated = (kinds: Readonly<Record<string, FieldKind>>) =>
  new Map(
    Object.entries(kinds).flatMap(([key, kind]) => [
      [key, { kind, negated: false }],
      [negatedKey(key), { kind, negated: true }],
    ]),
  );
const sourceTable = withNegated(SOURCE_KINDS);
const operationTable = withNegated(OPERATION_KINDS);
const outboundTable = withNegated(OUTBOUND_KINDS);

/** Reads a `source` or `operation`. Everything that is wrong is reported; the result holds what is usable. */
export function readFieldGroup(
  map: YamlMap,
  what: "source" | "operation",
  label: string,
  context: ReadContext,
): readonly FieldModel[] {
  const { findings } = context;
  const operations = context.direction === "OUTBOUND" ? outboundTable : operationTable;
  const table = what === "source" ? sourceTable : operations;
  const fields: FieldModel[] = [];
  for (const entry of map.entries) {
    const known = table.get(entry.key);
    if (known !== undefined) {
      checkWritten(entry, label, context);
      const target = { ...known, header: "", label: `${label}.${entry.key}` };
      refuseOfCustom(known.kind, entry.at, target.label, context);
      const field = readField(entry, target, context);
      if (field !== undefined) fields.push(field);
    } else {
      refuseKey(entry, label, [...table.keys()], findings);
    }
  }
  // The order of the table, not of the file: reports of the first failing field are then the same for the same rule.
  const order = [...table.values()];
  const rank = (field: FieldModel) =>
    order.findIndex(({ kind, negated }) => kind === field.kind && negated === field.negated);
  return fields.toSorted((a, b) => rank(a) - rank(b));
}

/** Istio asks providers before it knows the caller, so its CUSTOM rules may not speak about identity. Ours do know. */
export function refuseOfCustom(kind: FieldKind, at: SourcePosition, label: string, context: ReadContext): void {
  if (context.action !== "CUSTOM" || context.ours || !(isIdentity(kind) || isToken(kind))) return;
  const fix = "remove it, or write the policy under apiVersion countersign.dev/v1, which allows it";
  context.findings.error("E_POLICY_COMBINATION", at, `${label} in a CUSTOM rule, which Istio does not allow`, fix);
}

/** What a list of values is for. */
export type FieldTarget = Pick<FieldModel, "kind" | "negated" | "header" | "label"> &
  Partial<Pick<FieldModel, "claim">>;

/** Reads one list of values. An empty list is not set, as in Istio; strict refuses it, for it silently widens a rule. */
export function readField(entry: YamlEntry, target: FieldTarget, context: ReadContext): FieldModel | undefined {
  const { findings, options } = context;
  const { kind, label } = target;
  const items = asList(entry.value, label, findings);
  checkNotEmpty(entry, label, context);
  if (items === undefined || items.length === 0) return undefined;
  const limit = kind === "serviceAccount" ? MAX_SERVICE_ACCOUNTS : MAX_VALUES;
  if (items.length > limit)
    findings.error("E_POLICY_LIMIT", entry.at, `${label} has more than ${limit} values`, "split the rule");
  const values: string[] = [];
  const written: string[] = [];
  const requestPrincipals: RequestPrincipalPattern[] = [];
  for (const [index, item] of items.entries()) {
    const place = `${label}[${index}]`;
    if (kind === "requestPrincipal") {
      const read = readRequestPrincipal(item, place, context);
      if (read !== undefined) {
        values.push(read.text);
        requestPrincipals.push(read.pattern);
      }
      continue;
    }
    const value: LocatedText | undefined = asText(item, place, findings);
    if (value === undefined) continue;
    const checked = checkValue(kind, context, { value, label: place, options, findings });
    if (checked === undefined) continue;
    values.push(checked);
    written.push(value.text);
  }
  if (values.length === 0) return undefined;
  const isGrant = (context.action === "ALLOW") !== target.negated;
  if (kind === "path" && !isGrant) values.push(...new Set(values.flatMap((value) => cutEscapeValues(value, options))));
  const isOther = kind === "path" && values.join("\n") !== written.join("\n");
  return {
    ...target,
    values,
    ...(isOther ? { written } : {}),
    ...(kind === "requestPrincipal" ? { requestPrincipals } : {}),
    at: entry.at,
  };
}
