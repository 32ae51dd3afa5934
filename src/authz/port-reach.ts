import { compileCel } from "./cel-expression.ts";
import type { Findings } from "./findings.ts";
import { type FieldModel, isHttpOnly, type PolicyModel, type RuleModel } from "./policy-model.ts";
import type { PolicyListener, PolicyOptions } from "./policy-options.ts";

/** The first field of the rule that the question is answered with yes for. */
function findField(rule: RuleModel, asked: (field: FieldModel) => boolean): FieldModel | undefined {
  const { sources, operations, conditions } = rule;
  for (const groups of [sources, operations])
    for (const group of groups) for (const field of group) if (asked(field)) return field;
  return conditions.find(asked);
}

/** Whether fields that must all hold leave calls to a port in. */
export function takesPort(fields: readonly FieldModel[], port: number): boolean {
  return fields.every(({ kind, negated, values }) => kind !== "port" || values.includes(String(port)) !== negated);
}

/** Whether a rule can match calls to a port, as far as its `ports` and `destination.port` say. */
function meetsPort(rule: RuleModel, port: number): boolean {
  const { operations, conditions } = rule;
  return takesPort(conditions, port) && (operations.length === 0 || operations.some((group) => takesPort(group, port)));
}

/** Whether a field of the rule looks at HTTP. */
export function readsHttp(rule: RuleModel): boolean {
  return findField(rule, ({ kind }) => isHttpOnly(kind)) !== undefined;
}

/** The listeners' ports to which none of these rules applies. */
export function portsWithoutHttpRules(http: readonly RuleModel[], options: PolicyOptions): ReadonlySet<number> {
  const ports = options.listeners.map(({ appPort }) => appPort);
  return new Set(ports.filter((port) => !http.some((rule) => meetsPort(rule, port))));
}

/** Reports rules that do not fit the listeners (authorization, section 7): strict: HTTP-only fields on a TCP port; both modes: ports
 *  where the app has none, and providers that cannot be asked about tunnels. `policies` are those that apply. */
export function* checkPorts(
  policies: readonly PolicyModel[],
  options: PolicyOptions,
  findings: Findings,
): Generator<void, void> {
  const tcp = options.listeners.filter(({ protocol }) => protocol === "tcp");
  const portless = options.listeners.find(({ appPort }) => appPort === 0);
  for (const policy of policies) {
    if (policy.direction === "OUTBOUND") continue;
    for (const rule of policy.rules) {
      const name = `policy ${policy.namespace}/${policy.name}, rule ${rule.index}`;
      const met = tcp.find(({ appPort }) => meetsPort(rule, appPort));
      if (options.mode === "strict" && met !== undefined) refuseOnTcp(policy, rule, name, met, options, findings);
      const port = findField(rule, ({ kind }) => kind === "port");
      if (port !== undefined && portless !== undefined) {
        const message = `${name}: ${port.label} compares ports, and the app of listener ${portless.name} has none`;
        const fix = "give the listener a `port:`, or remove the ports from the rule";
        findings.error("E_POLICY_UNIX_PORT", port.at, message, fix);
      }
      yield;
    }
  }
}

function refuseOnTcp(
  policy: PolicyModel,
  rule: RuleModel,
  name: string,
  listener: PolicyListener,
  options: PolicyOptions,
  findings: Findings,
): void {
  const where = `the rule applies to TCP port ${listener.appPort} of listener ${listener.name}`;
  const fix = "limit every operation of the rule by `ports` to HTTP ports";
  const http = findField(rule, ({ kind }) => isHttpOnly(kind));
  if (http !== undefined)
    findings.error("E_POLICY_TCP_PORT", http.at, `${name}: ${http.label} looks at HTTP, and ${where}`, fix);
  else if (rule.expression !== undefined && expressionReadsHttp(rule.expression.text, policy.direction))
    findings.error("E_POLICY_TCP_PORT", rule.expression.at, `${name}: conditions look at HTTP, and ${where}`, fix);
  if (policy.provider !== undefined && options.providers?.get(policy.provider) === "http") {
    const message = `${name}: provider ${policy.provider} is asked over HTTP about HTTP only, and ${where}`;
    findings.error("E_POLICY_PROVIDER", rule.at, message, fix);
  }
}

function expressionReadsHttp(text: string, direction: PolicyModel["direction"]): boolean {
  const compiled = compileCel(text, direction);
  return "run" in compiled && compiled.names.has("request");
}
