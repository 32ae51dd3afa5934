import { checkValue } from "./check-values.ts";
import type { Findings } from "./findings.ts";
import type { FieldKind, FieldModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { asList, asText, childOf, type LocatedText, refuseKey, refuseUnknownKeys } from "./yaml-access.ts";
import type { YamlEntry, YamlMap } from "./yaml-documents.ts";

/** What reading a rule needs to know of its surroundings. */
export interface ReadContext {
  readonly options: PolicyOptions;
  readonly findings: Findings;
  readonly policyNamespace: string;
}

/** Not an Istio number: keeps one field from holding everything. */
const MAX_VALUES = 10_000;
const MAX_SERVICE_ACCOUNTS = 16;

const SOURCE_KINDS: Readonly<Record<string, FieldKind>> = {
  principals: "principal",
  namespaces: "namespace",
  serviceAccounts: "serviceAccount",
  trustDomains: "trustDomain",
  ipBlocks: "sourceIp",
  remoteIpBlocks: "remoteIp",
};
const OPERATION_KINDS: Readonly<Record<string, FieldKind>> = {
  hosts: "host",
  methods: "method",
  paths: "path",
  ports: "port",
};
const CONDITION_KINDS: Readonly<Record<string, FieldKind>> = {
  "source.ip": "sourceIp",
  "remote.ip": "remoteIp",
  "source.namespace": "namespace",
  "source.principal": "principal",
  "source.serviceAccount": "serviceAccount",
  "source.trustDomain": "trustDomain",
  "destination.ip": "destinationIp",
  "destination.port": "port",
  "connection.sni": "sni",
};

const negatedKey = (key: string) => `not${key.charAt(0).toUpperCase()}${key.slice(1)}`;
const withNegated = (kinds: Readonly<Record<string, FieldKind>>) =>
  new Map(
    Object.entries(kinds).flatMap(([key, kind]) => [
      [key, { kind, negated: false }],
      [negatedKey(key), { kind, negated: true }],
    ]),
  );
const fieldTables = { source: withNegated(SOURCE_KINDS), operation: withNegated(OPERATION_KINDS) };

/** Keys of Istio's source that this version does not build. */
const UNSUPPORTED = ["requestPrincipals", "notRequestPrincipals"];

/** Reads a `source` or `operation`. Everything that is wrong is reported; the result holds what is usable. */
export function readFieldGroup(
  map: YamlMap,
  what: "source" | "operation",
  label: string,
  context: ReadContext,
): readonly FieldModel[] {
  const { findings } = context;
  const table = fieldTables[what];
  const fields: FieldModel[] = [];
  const unsupported = what === "source" ? UNSUPPORTED : [];
  for (const entry of map.entries) {
    const known = table.get(entry.key);
    if (known !== undefined) {
      const field = readField(entry, known.kind, known.negated, "", `${label}.${entry.key}`, context);
      if (field !== undefined) fields.push(field);
    } else if (unsupported.includes(entry.key)) {
      const message = `${label}.${entry.key} is not built in this version`;
      findings.error("E_POLICY_UNSUPPORTED", entry.at, message, "remove it: a rule without it may allow more");
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

/** Reads one list of values. An empty list is not set, as in Istio; strict refuses it, for it silently widens a rule. */
function readField(
  entry: YamlEntry,
  kind: FieldKind,
  negated: boolean,
  header: string,
  label: string,
  context: ReadContext,
): FieldModel | undefined {
  const { findings, options, policyNamespace } = context;
  const items = asList(entry.value, label, findings);
  if (items === undefined || items.length === 0) {
    if (items !== undefined && options.mode === "strict")
      findings.error("E_POLICY_EMPTY", entry.at, `${label} is an empty list`, "write values, or remove it");
    return undefined;
  }
  const limit = kind === "serviceAccount" ? MAX_SERVICE_ACCOUNTS : MAX_VALUES;
  if (items.length > limit)
    findings.error("E_POLICY_LIMIT", entry.at, `${label} has more than ${limit} values`, "split the rule");
  const values: string[] = [];
  for (const [index, item] of items.entries()) {
    const value: LocatedText | undefined = asText(item, `${label}[${index}]`, findings);
    if (item.kind === "null")
      findings.error("E_POLICY_EMPTY", item.at, `${label}[${index}] is empty`, "write a value, or remove it");
    if (value === undefined) continue;
    const checked = checkValue(kind, policyNamespace, { value, label: `${label}[${index}]`, options, findings });
    if (checked !== undefined) values.push(checked);
  }
  return values.length === 0 ? undefined : { kind, negated, values, header, label, at: entry.at };
}

/** Reads one item of `when`: up to two fields, its values and its notValues. */
export function readCondition(map: YamlMap, label: string, context: ReadContext): readonly FieldModel[] {
  const { findings } = context;
  refuseUnknownKeys(map, label, ["key", "values", "notValues"], findings);
  const key = asText(childOf(map, "key"), `${label}.key`, findings);
  if (key === undefined) {
    if (childOf(map, "key") === undefined)
      findings.error("E_POLICY_MISSING", map.at, `${label} has no key`, "add `key:`, such as source.namespace");
    return [];
  }
  const target = conditionTarget(key, label, findings);
  if (target === undefined) return [];
  const lists = map.entries.filter((entry) => entry.key === "values" || entry.key === "notValues");
  if (lists.every(({ value }) => value.kind === "null" || (value.kind === "list" && value.items.length === 0))) {
    const message = `${label} (${key.text}) has neither values nor notValues`;
    findings.error("E_POLICY_EMPTY", map.at, message, "add values or notValues");
    return [];
  }
  const fields = lists.map((entry) =>
    readField(entry, target.kind, entry.key === "notValues", target.header, `${label}.${entry.key}`, context),
  );
  return fields.filter((field) => field !== undefined);
}

function conditionTarget(
  key: LocatedText,
  label: string,
  findings: Findings,
): { readonly kind: FieldKind; readonly header: string } | undefined {
  const kind = Object.hasOwn(CONDITION_KINDS, key.text) ? CONDITION_KINDS[key.text] : undefined;
  if (kind !== undefined) return { kind, header: "" };
  const header = /^request\.headers\[([A-Za-z0-9!#$%&'*+.^_`|~-]+)\]$/.exec(key.text)?.[1];
  if (header !== undefined) return { kind: "header", header: header.toLowerCase() };
  if (/^(?:request\.auth\.|experimental\.|request\.headers\[:)/.test(key.text)) {
    const message = `${label}.key ${JSON.stringify(key.text)} is not built in this version`;
    findings.error("E_POLICY_UNSUPPORTED", key.at, message, "remove the condition: a rule without it may allow more");
  } else {
    const keys = [...Object.keys(CONDITION_KINDS), "request.headers[name]"].join(", ");
    const message = `${label}.key ${JSON.stringify(key.text.slice(0, 200))} does not exist`;
    findings.error("E_POLICY_WHEN_KEY", key.at, message, `use one of ${keys}`);
  }
  return undefined;
}
