import type { Findings } from "./findings.ts";
import { type FieldModel, isHttpOnly, type PolicyModel, type RuleModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";

function allFields(rule: RuleModel): readonly FieldModel[] {
  return [...rule.sources.flat(), ...rule.operations.flat(), ...rule.conditions];
}

function takesPort(fields: readonly FieldModel[], port: number): boolean {
  return fields.every(({ kind, negated, values }) => kind !== "port" || values.includes(String(port)) !== negated);
}

/** Whether a rule can match calls to a port, as far as its `ports` and `destination.port` say. */
function meetsPort(rule: RuleModel, port: number): boolean {
  const { operations, conditions } = rule;
  return takesPort(conditions, port) && (operations.length === 0 || operations.some((group) => takesPort(group, port)));
}

export function readsHttp(rule: RuleModel): boolean {
  return allFields(rule).some(({ kind }) => isHttpOnly(kind));
}

/** The listeners' ports to which no rule that looks at HTTP applies. */
export function portsWithoutHttpRules(policies: readonly PolicyModel[], options: PolicyOptions): ReadonlySet<number> {
  const http = policies.flatMap(({ rules }) => rules.filter(readsHttp));
  const ports = options.listeners.map(({ appPort }) => appPort);
  return new Set(ports.filter((port) => !http.some((rule) => meetsPort(rule, port))));
}

/** Reports rules that do not fit the listeners (authorization, section 7): strict: HTTP-only fields on a TCP port; both modes: ports
 *  where the app has none. `policies` are those that apply. */
export function checkPorts(policies: readonly PolicyModel[], options: PolicyOptions, findings: Findings): void {
  const tcp = options.listeners.filter(({ protocol }) => protocol === "tcp");
  const portless = options.listeners.find(({ appPort }) => appPort === 0);
  for (const policy of policies) {
    for (const rule of policy.rules) {
      const name = `policy ${policy.namespace}/${policy.name}, rule ${rule.index}`;
      const http = allFields(rule).find(({ kind }) => isHttpOnly(kind));
      const met = tcp.find(({ appPort }) => meetsPort(rule, appPort));
      if (options.mode === "strict" && http !== undefined && met !== undefined) {
        const message = `${name}: ${http.label} looks at HTTP, and the rule applies to TCP port ${met.appPort} of listener ${met.name}`;
        findings.error(
          "E_POLICY_TCP_PORT",
          http.at,
          message,
          "limit every operation of the rule by `ports` to HTTP ports",
        );
      }
      const port = allFields(rule).find(({ kind }) => kind === "port");
      if (port !== undefined && portless !== undefined) {
        const message = `${name}: ${port.label} compares ports, and the app of listener ${portless.name} has none`;
        findings.error(
          "E_POLICY_UNIX_PORT",
          port.at,
          message,
          "give the listener a `port:`, or remove the ports from the rule",
        );
      }
    }
  }
}
