import { formatIpAddress, parseIpAddress } from "../core/ip-address.ts";
import type { Findings } from "./findings.ts";
import type { FieldGroup, FieldModel, PolicyModel, RuleModel } from "./policy-model.ts";
import type { PolicyMode, PolicyOptions } from "./policy-options.ts";
import { takesPort } from "./port-reach.ts";
import { inTextSet, parseTextPattern, textSet } from "./text-pattern.ts";

/** As what tunnels of an egress proxy are decided, without a path. */
const TUNNEL = "CONNECT";

/** Reports OUTBOUND rules that mean something else for tunnels of the workload's egress proxy than for requests, or for both than they seem to.
 *  `policies` are those that apply. */
export function* checkTunnels(
  policies: readonly PolicyModel[],
  options: PolicyOptions,
  findings: Findings,
): Generator<void, void> {
  const { tunnelPorts = [] } = options;
  for (const policy of policies) {
    if (policy.direction !== "OUTBOUND") continue;
    for (const rule of policy.rules) {
      if (options.tunnelPorts !== undefined) warnOfSpellings(policy, rule, options, findings);
      const tunnels = tunnelPorts.flatMap((port) => groupsForTunnels(rule, port));
      if (tunnels.length > 0) {
        const name = `policy ${policy.namespace}/${policy.name}, rule ${rule.index}`;
        if (policy.action === "CUSTOM") checkProvider(policy, rule, name, options, findings);
        if (policy.action === "ALLOW" && !namesServers(rule.conditions)) warnOfLimits(tunnels, name, findings);
      }
      yield;
    }
  }
}

/** The operations by which a rule can match tunnels to a port, as far as its methods, paths and ports say; one without fields, if it has none. */
function groupsForTunnels({ operations, conditions }: RuleModel, port: number): readonly FieldGroup[] {
  if (!takesPort(conditions, port)) return [];
  const groups: readonly FieldGroup[] = operations.length === 0 ? [[]] : operations;
  return groups.filter((group) => takesPort(group, port) && group.every(takesTunnel));
}

function takesTunnel({ kind, negated, values }: FieldModel): boolean {
  if (kind === "path") return negated;
  return kind !== "method" || inTextSet(textSet(values.map(parseTextPattern)), TUNNEL) !== negated;
}

/** Whether only servers that must prove who they are fit: those of configured destinations, and of tunnels that the proxy looks into. */
function namesServers(group: FieldGroup): boolean {
  return group.some(({ kind, negated }) => kind === "destinationPrincipal" && !negated);
}

/** A provider that is asked over HTTP: of a tunnel there is nothing to ask so. */
function checkProvider(
  { provider }: PolicyModel,
  rule: RuleModel,
  name: string,
  { providers, mode }: PolicyOptions,
  findings: Findings,
): void {
  if (provider === undefined || providers?.get(provider) !== "http") return;
  const message = `${name}: provider ${provider} is asked over HTTP about requests only, and the rule applies to tunnels of the egress proxy`;
  const fix = "add `notMethods: [CONNECT]` to every operation of the rule, or name a provider that is asked over gRPC";
  if (mode === "strict") findings.error("E_POLICY_PROVIDER", rule.at, message, fix);
  else findings.warn("W_POLICY_PROVIDER", rule.at, `${message}, which are denied`, fix);
}

/** What a rule takes out of the requests that it allows travels in a tunnel all the same. One that names tunnels means them. */
function warnOfLimits(tunnels: readonly FieldGroup[], name: string, findings: Findings): void {
  for (const group of tunnels) {
    const limit = group.find(({ kind, negated }) => negated && (kind === "path" || kind === "method"));
    const isNamed = group.some(({ kind, negated, values }) => kind === "method" && !negated && values.includes(TUNNEL));
    if (limit === undefined || isNamed || namesServers(group)) continue;
    const message = `${name}: ${limit.label} limits what is allowed, and the rule allows CONNECT too: a tunnel of the egress proxy, which carries anything in its TLS`;
    const fix =
      "put CONNECT into `notMethods`, or name the methods that are allowed, CONNECT among them if tunnels are meant";
    findings.warn("W_POLICY_CONNECT", limit.at, message, fix);
    return;
  }
}

/** The egress proxy knows each host by one spelling. A configured destination gets the one that the app writes. */
function warnOfSpellings(
  { action }: PolicyModel,
  { operations, conditions }: RuleModel,
  { mode }: PolicyOptions,
  findings: Findings,
): void {
  // what refuses in strict mode takes a server that need not prove anything for any
  const mayFit = (group: FieldGroup): boolean => (mode === "strict" && action !== "ALLOW") || !namesServers(group);
  const groups = operations.length === 0 ? [[]] : operations.filter(mayFit);
  if (groups.length === 0 || !mayFit(conditions)) return;
  for (const { kind, values, label, at } of [...groups, conditions].flat()) {
    if (kind !== "host") continue;
    for (const value of values) {
      const known = spellingOf(value, mode);
      if (known === undefined) continue;
      const message = `${label}: the egress proxy knows this host as ${known}, so ${JSON.stringify(value)} never matches there`;
      findings.warn("W_POLICY_NEVER_MATCHES", at, message, `write ${JSON.stringify(known)}`);
    }
  }
}

/** How the egress proxy spells the host of a value, where the value does otherwise: addresses in their shortest form, IPv4-mapped ones as IPv4, names
 *  without a dot at their end, which strict mode removes itself. */
function spellingOf(value: string, mode: PolicyMode): string | undefined {
  const [, bracketed, name = "", port = ""] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^[\]:*]+))(:\d+)?$/.exec(value) ?? [];
  if (bracketed === undefined) return mode === "istio" && name.endsWith(".") ? name.slice(0, -1) + port : undefined;
  const address = parseIpAddress(bracketed);
  if (address === undefined) return undefined;
  const text = formatIpAddress(address);
  const known = (address.family === 4 ? text : `[${text}]`) + port;
  return known === value.toLowerCase() ? undefined : known;
}
