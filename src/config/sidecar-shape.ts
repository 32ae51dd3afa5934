import { auditShape } from "./audit-shape.ts";
import { checkProviderHosts, extensionProviderShape } from "./extension-providers-shape.ts";
import { identityShape } from "./identity-shape.ts";
import { limits, timeouts } from "./limits-shape.ts";
import { inboundShape, outboundShape, ownListenAddress } from "./listener-shapes.ts";
import { type PolicyItem, policyItem } from "./policy-url-shape.ts";
import type { Invalid } from "./problems.ts";
import type { Address, AuthorizationConfig, ForwardConfig, OutboundConfig, SidecarConfig } from "./sidecar-config.ts";
import { trustDomain } from "./spiffe-shapes.ts";
import { cidr } from "./yaml-addresses.ts";
import { list, mapOf, object, optional, required, unsupported, withDefault } from "./yaml-collections.ts";
import { choice, duration, integer, path, text } from "./yaml-scalars.ts";
import { placeOf, refine, type Shape } from "./yaml-shape.ts";

const workload = object({
  namespace: required(text({ max: 253 }), "The namespace whose policies apply."),
  labels: withDefault(
    mapOf((key) => key, text({ max: 253, empty: true }), { max: 256 }),
    {},
    "What the selectors of policies are compared with.",
  ),
});

const authorization: Shape<AuthorizationConfig> = refine(
  object({
    mode: withDefault(
      choice(["strict", "istio"]),
      "strict",
      "istio: Istio's exact meaning. strict: the same language with its holes closed.",
    ),
    default: optional(
      choice(["deny", "allow"]),
      "What happens to inbound calls that no policy speaks about. Default: strict deny, istio allow.",
    ),
    pathNormalization: optional(
      choice(["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]),
      "What is done to a path before it is matched. Default: strict MERGE_SLASHES, istio BASE.",
    ),
    rootNamespace: withDefault(
      text({ max: 253 }),
      "istio-system",
      "The namespace whose policies apply to every workload.",
    ),
  }),
  ({ mode, default: verdict, pathNormalization, rootNamespace }) => ({
    mode,
    default: verdict ?? (mode === "strict" ? "deny" : "allow"),
    pathNormalization: pathNormalization ?? (mode === "strict" ? "MERGE_SLASHES" : "BASE"),
    rootNamespace,
  }),
);

function endpoint(description: string) {
  return optional(object({ listen: required(ownListenAddress(), description) }), `${description} Absent: off.`);
}

const admin = optional(
  object({
    listen: required(
      refine(ownListenAddress(), (address, node, context): (Address & { readonly kind: "unix" }) | Invalid => {
        if (address.kind === "unix") return address;
        const message = `${context.path} on TCP is not built in this version`;
        return context.problems.error("E_CONFIG_UNSUPPORTED", node.at, message, "write unix:///path");
      }),
      "unix:///path; the socket is made with mode 0600.",
    ),
  }),
  "What `countersign status` talks to. Absent: off.",
);

const workerCount = integer({ min: 1, max: 256 });
const workers: Shape<number> = {
  schema: { anyOf: [workerCount.schema, { const: "auto" }] },
  read: (node, context) => (node.kind === "text" && node.value === "auto" ? 0 : workerCount.read(node, context)),
};

export const sidecarFields = {
  workload: optional(workload, "Which policies apply to this app."),
  identity: withDefault(identityShape, { workloadApi: {} }, "Where our identity comes from. Exactly one source."),
  trustDomainAliases: withDefault(
    list(trustDomain(), { max: 64 }),
    [],
    "Names that stand for our own trust domain in policies.",
  ),
  inbound: withDefault(
    list(inboundShape, { max: 256 }),
    [],
    "What other sidecars may reach: mTLS in, plaintext to the app.",
  ),
  outbound: withDefault(
    list(outboundShape, { max: 1000 }),
    [],
    "What the app may call: plaintext in, mTLS to the server's sidecar; or the egress proxy.",
  ),
  policies: withDefault(list(policyItem, { max: 256 }), [], "Files, folders or URLs of Istio policy documents."),
  authorization: withDefault(authorization, {}, "How policies are read."),
  trustedProxies: withDefault(list(cidr, { max: 1000 }), [], "Peers whose x-forwarded-for is believed."),
  extensionProviders: withDefault(
    list(extensionProviderShape, { max: 64 }),
    [],
    "Who is asked about calls that CUSTOM policies name, as in Istio's MeshConfig.",
  ),
  requestAuthentication: withDefault(
    object({
      addresses: withDefault(
        list(cidr, { max: 1000 }),
        [],
        "Private addresses, as CIDRs, from which issuers' keys may be fetched.",
      ),
      ca: optional(path(), "PEM file of the authorities to trust for these fetches. Default: the system's."),
    }),
    {},
    "How the keys of RequestAuthentication documents are fetched.",
  ),
  audit: withDefault(auditShape, {}, "Where audit records go. Absent: standard output."),
  admin,
  health: endpoint("Where /livez and /readyz answer."),
  metrics: endpoint("Where /metrics answers."),
  workers: withDefault(workers, 1, "Threads that share the ports; auto: one a core."),
  limits: withDefault(limits, {}, "Limits of each listener."),
  timeouts: withDefault(timeouts, {}, "Time limits."),
  drain: withDefault(
    object({ timeout: withDefault(duration(), "30s", "How long calls may go on after SIGTERM.") }),
    {},
    "Graceful stop.",
  ),
  log: withDefault(
    object({
      level: withDefault(
        choice(["trace", "debug", "info", "warn", "error", "fatal", "silent"]),
        "info",
        "Least level shown.",
      ),
    }),
    {},
    "Operational log: JSON on standard error.",
  ),
  xff: unsupported("Whether our own hop is added to x-forwarded-for."),
};

const sidecar = object(sidecarFields);

/** No namespace and no labels: only policies of the root namespace without selector apply. */
export const absentWorkload: SidecarConfig["workload"] = { namespace: "", labels: new Map() };

/** Paths apart from URLs. */
export function policySources(items: readonly PolicyItem[]): Pick<SidecarConfig, "policies" | "policyUrls"> {
  return {
    policies: items.flatMap((item) => (item.kind === "path" ? [{ path: item.path, at: item.at }] : [])),
    policyUrls: items.flatMap((item) => (item.kind === "url" ? [item.url] : [])),
  };
}

/** All of countersign.yaml but the name of the file. */
export const sidecarShape: Shape<Omit<SidecarConfig, "file">> = refine(sidecar, (value, node, context) => {
  const { inbound, outbound, policies, workload: chosen } = value;
  if (policies.length > 0 && chosen === undefined) {
    const message = "policies are given, but workload does not say which of them apply to this app";
    return context.problems.error(
      "E_CONFIG_MISSING",
      placeOf(node, "policies"),
      message,
      "add workload: { namespace: …, labels: { … } }",
    );
  }
  checkProviderHosts(value.extensionProviders, value.authorization.mode, context);
  if (inbound.length === 0 && outbound.length === 0) {
    context.problems.warn("W_CONFIG_IDLE", node.at, "neither inbound nor outbound has a listener", "add one");
  }
  if (inbound.length > 0 && policies.length === 0 && value.authorization.default === "deny") {
    const message = "there are no policies: every inbound call is denied";
    context.problems.warn(
      "W_CONFIG_NO_POLICIES",
      placeOf(node, "inbound"),
      message,
      "add policies, or authorization: { default: allow }",
    );
  }
  const proxies = outbound.filter((one) => "forward" in one);
  if (proxies.length > 0 && policies.length === 0) {
    const message = "there are no policies: every call through the egress proxy is denied";
    const fix = "add policies with direction: OUTBOUND";
    context.problems.warn("W_CONFIG_NO_POLICIES", placeOf(node, "outbound"), message, fix);
  }
  return {
    workload: chosen ?? absentWorkload,
    identity: value.identity,
    trustDomainAliases: value.trustDomainAliases,
    inbound,
    outbound: outbound.filter((one): one is OutboundConfig => !("forward" in one)),
    forward: outbound.filter((one): one is ForwardConfig => "forward" in one),
    outboundAsWritten: outbound,
    ...policySources(policies),
    authorization: value.authorization,
    trustedProxies: value.trustedProxies,
    extensionProviders: value.extensionProviders,
    requestAuthentication: value.requestAuthentication,
    audit: value.audit,
    admin: value.admin?.listen,
    health: value.health?.listen,
    metrics: value.metrics?.listen,
    workers: value.workers,
    limits: value.limits,
    timeouts: value.timeouts,
    drainTimeoutMs: value.drain.timeout,
    logLevel: value.log.level,
  };
});
