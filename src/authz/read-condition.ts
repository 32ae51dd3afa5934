import { checkWritten } from "./check-keys.ts";
import type { FieldKind, FieldModel } from "./policy-model.ts";
import { type ReadContext, readField, refuseOfCustom } from "./read-fields.ts";
import { asText, childOf, type LocatedText, refuseUnknownKeys } from "./yaml-access.ts";
import type { YamlMap } from "./yaml-documents.ts";

const SOURCE_KEYS: Readonly<Record<string, FieldKind>> = {
  "source.ip": "sourceIp",
  "remote.ip": "remoteIp",
  "source.namespace": "namespace",
  "source.principal": "principal",
  "source.serviceAccount": "serviceAccount",
  "source.trustDomain": "trustDomain",
  "request.auth.principal": "requestPrincipal",
  "request.auth.audiences": "audience",
  "request.auth.presenter": "presenter",
};
const DESTINATION_KEYS: Readonly<Record<string, FieldKind>> = {
  "destination.ip": "destinationIp",
  "destination.port": "port",
  "connection.sni": "sni",
};
const INBOUND_KEYS = { ...SOURCE_KEYS, ...DESTINATION_KEYS };
/** The caller is this workload, so only the other side and the request are left to ask about. */
const OUTBOUND_KEYS: Readonly<Record<string, FieldKind>> = {
  ...DESTINATION_KEYS,
  "destination.principal": "destinationPrincipal",
};
const HEADER = /^request\.headers\[([^[\]]+)\]$/;
/** RFC 9110 section 5.6.2. */
const FIELD_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
const CLAIMS = /^request\.auth\.claims((?:\[[^[\]]+\])+)$/;
/** What Envoy shows as headers of every request, each with the field of an operation that compares it better: what it shows is not
 *  made equal, and a path has its query, so that another spelling passes a rule by. */
const PSEUDO_HEADERS: Readonly<Record<string, string | undefined>> = {
  ":path": "paths",
  ":authority": "hosts",
  ":method": "methods",
  ":scheme": undefined,
};

type Target = Pick<FieldModel, "kind" | "header"> & Partial<Pick<FieldModel, "claim">>;

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
  const target = conditionTarget(key, label, context);
  if (target === undefined) return [];
  refuseOfCustom(target.kind, key.at, `${label} (${key.text})`, context);
  const lists = map.entries.filter((entry) => entry.key === "values" || entry.key === "notValues");
  if (lists.every(({ value }) => value.kind === "null" || (value.kind === "list" && value.items.length === 0))) {
    const message = `${label} (${key.text}) has neither values nor notValues`;
    findings.error("E_POLICY_EMPTY", map.at, message, "add values or notValues");
    return [];
  }
  for (const entry of lists) checkWritten(entry, label, context);
  const fields = lists.map((entry) => {
    const negated = entry.key === "notValues";
    return readField(entry, { ...target, negated, label: `${label}.${entry.key}` }, context);
  });
  return fields.filter((field) => field !== undefined);
}

function conditionTarget(key: LocatedText, label: string, context: ReadContext): Target | undefined {
  const { findings, direction } = context;
  const keys: Readonly<Record<string, FieldKind>> = direction === "OUTBOUND" ? OUTBOUND_KEYS : INBOUND_KEYS;
  const kind = Object.hasOwn(keys, key.text) ? keys[key.text] : undefined;
  if (kind !== undefined) return { kind, header: "" };
  const header = HEADER.exec(key.text)?.[1]?.toLowerCase();
  if (header !== undefined && FIELD_NAME.test(header)) return namedHeader(header, context);
  if (header !== undefined && context.options.mode === "istio" && direction === "INBOUND")
    return istioHeader(header, key, label, context);
  const claim = direction === "OUTBOUND" ? undefined : CLAIMS.exec(key.text)?.[1];
  if (claim !== undefined) return { kind: "claim", header: "", claim: claim.slice(1, -1).split("][") };
  if (header?.startsWith(":") === true) {
    const message = `${label}.key ${JSON.stringify(key.text)} compares what is no header, as it was written on the wire`;
    const field = Object.hasOwn(PSEUDO_HEADERS, header) ? PSEUDO_HEADERS[header] : undefined;
    const fix =
      field === undefined
        ? "remove the condition: a rule without it may allow more"
        : `use \`${field}\` of an operation, which compares what the app will see`;
    findings.error("E_POLICY_UNSUPPORTED", key.at, message, fix);
  } else if (key.text.startsWith("experimental.")) {
    const message = `${label}.key ${JSON.stringify(key.text)} is not built in this version`;
    findings.error("E_POLICY_UNSUPPORTED", key.at, message, "remove the condition: a rule without it may allow more");
  } else {
    const claims = direction === "OUTBOUND" ? [] : ["request.auth.claims[name]"];
    const known = [...Object.keys(keys), "request.headers[name]", ...claims].join(", ");
    const message = `${label}.key ${JSON.stringify(key.text.slice(0, 200))} does not exist`;
    findings.error("E_POLICY_WHEN_KEY", key.at, message, `use one of ${known}`);
  }
  return undefined;
}

/** strict: Host is compared as `hosts` are, whatever it is called, so that another spelling passes no rule by. */
function namedHeader(header: string, { options }: ReadContext): Target {
  return header === "host" && options.mode === "strict" ? { kind: "host", header: "" } : { kind: "header", header };
}

/** Istio takes any name. Envoy has some that are no field's for every request, and the rest for none. */
function istioHeader(header: string, key: LocatedText, label: string, { findings }: ReadContext): Target {
  if (!Object.hasOwn(PSEUDO_HEADERS, header)) {
    const message = `${label}.key ${JSON.stringify(key.text.slice(0, 200))} names what no request has: values never match, and notValues always`;
    findings.warn("W_POLICY_NEVER_MATCHES", key.at, message, "name a header, or remove the condition");
  }
  return { kind: "header", header };
}
