import type { CallFacts, RequestFacts } from "../core/call-facts.ts";
import type {
  CallDecision,
  Decision,
  DecisionNotes,
  DryRunVerdict,
  NearestRule,
  Permit,
  ProviderRequest,
  RuleId,
} from "../core/decision.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { type CallView, viewCall } from "./call-view.ts";
import type { CompiledPolicy, RuleSet } from "./compiled-policy.ts";
import { nearestRule } from "./nearest-rule.ts";
import { findRule } from "./rule-index.ts";

/** Which calls a decision is about, and what becomes of one that no policy speaks about. */
export interface Side {
  readonly direction: "inbound" | "outbound";
  readonly fallback: "allow" | "deny";
}

/** Decides about one inbound call (authorization, section 6): CUSTOM rules that match ask their providers first, a DENY that matches
 *  denies, then an ALLOW that matches allows, else the call is denied; without any ALLOW policy the default of the options decides. Pure: no
 *  clock, no I/O, no throw. The cost hardly depends on the number of rules. The reason and nearest rule of a default deny are worked out when they
 *  are first read, so read them before facts that are not needed any more are kept for long. */
export function decideCall(policy: CompiledPolicy, facts: CallFacts): CallDecision {
  const call = viewOf(policy, facts, "");
  const providers = matchingProviders(policy, policy.inbound, call, "inbound");
  const decision = decideView(policy, policy.inbound, call, { direction: "inbound", fallback: policy.options.default });
  return askingFirst(policy, providers, decision, call);
}

/** The decision after those of the providers whose rules matched. */
function askingFirst(
  policy: CompiledPolicy,
  providers: readonly ProviderRequest[],
  decision: Decision,
  call: CallView,
): CallDecision {
  const first = providers[0];
  if (first === undefined) return decision;
  const blocked = providers.find((request) => !canAsk(policy, request.provider, call));
  if (blocked !== undefined) {
    const why = `CUSTOM rule ${blocked.rule} matched, and its provider ${JSON.stringify(blocked.provider)} cannot be asked`;
    return denied(policy.version, "E_POLICY_PROVIDER", blocked.rule, why, decision.notes ?? faultsOf(call));
  }
  return { kind: "ask", providers: [first, ...providers.slice(1)], decision, policyVersion: policy.version };
}

/** The same for callers that ask no providers: a call that needs one is denied. */
export function decide(policy: CompiledPolicy, facts: CallFacts): Decision {
  return decisionAfter(decideCall(policy, facts), NOBODY);
}

/** What stands of a decision where nobody can be asked any more, and `allowed` are the providers that have allowed the call: one that needs another
 *  is denied. */
export function decisionAfter(decision: CallDecision, allowed: ReadonlySet<string>): Decision {
  if (decision.kind !== "ask") return decision;
  const missing = decision.providers.find(({ provider }) => !allowed.has(provider));
  if (missing === undefined) return decision.decision;
  const { rule, provider } = missing;
  const reason = `CUSTOM rule ${rule} matched, and nobody could ask its provider ${JSON.stringify(provider)}`;
  return denied(decision.policyVersion, "E_POLICY_CUSTOM", rule, reason, decision.decision.notes);
}

/** Decides about one outbound call by the OUTBOUND policies. `fallback` is for calls when no OUTBOUND ALLOW policy applies: a configured
 *  destination is allowed, a forward proxy's is not. When the server may prove one of several principals, each of them must be allowed, and the
 *  providers of each are asked. */
export function decideOutboundCall(
  policy: CompiledPolicy,
  facts: CallFacts,
  fallback: "allow" | "deny" = "allow",
): CallDecision {
  const side: Side = { direction: "outbound", fallback };
  const principals = facts.destinationPrincipals ?? NO_PRINCIPALS;
  const call = viewOf(policy, facts, principals[0] ?? "");
  let providers = matchingProviders(policy, policy.outbound, call, "outbound");
  let decision = decideView(policy, policy.outbound, call, side);
  for (let i = 1; i < principals.length; i++) {
    const other = viewOf(policy, facts, principals[i] ?? "");
    for (const request of matchingProviders(policy, policy.outbound, other, "outbound"))
      if (!providers.some(({ provider }) => provider === request.provider)) providers = [...providers, request];
    if (decision.kind === "allow") decision = decideView(policy, policy.outbound, other, side);
  }
  return askingFirst(policy, providers, decision, call);
}

/** Whether some rule looks at HTTP in calls to the app's port (to any port when none is given). Where the protocol is sniffed, bytes
 *  that are not HTTP must then be refused: the caller must not choose which rules see it (authorization, section 7). */
export function policyReadsHttp(policy: CompiledPolicy, appPort?: number): boolean {
  return policy.readsHttp && (appPort === undefined || !policy.portsWithoutHttpRules.has(appPort));
}

/** The call as the matchers see it, with the place for the answers of its connection. */
export function viewOf(policy: CompiledPolicy, facts: CallFacts, destination: string): CallView {
  const call = viewCall(facts, policy.comparesHosts ? policy.options.mode : undefined, destination);
  const { connection } = call;
  if (policy.keptAnswers > 0 && connection.answers?.rules !== policy.memory.rules)
    connection.answers = { rules: policy.memory.rules, byMatcher: new Uint8Array(policy.keptAnswers) };
  return call;
}

export function decideView(policy: CompiledPolicy, rules: RuleSet, call: CallView, side: Side): Decision {
  const { direction } = side;
  const deny = findRule(rules.deny, call, direction);
  if (deny >= 0) {
    const id = policy.memory.rules.idOf(deny);
    const why = `DENY rule ${id} matched${anonymousHint(policy, deny, call)}`;
    return denied(policy.version, "E_POLICY_DENIED_BY_RULE", id, why, notesFor(policy, rules, call, side));
  }
  if (rules.allowPolicyCount === 0) return byDefault(policy, rules, call, side);
  const allow = findRule(rules.allow, call, direction);
  const notes = notesFor(policy, rules, call, side);
  if (allow >= 0) return allowed(policy, policy.memory.rules.idOf(allow), "rule", notes);
  return new DefaultDenial(policy, rules, call, direction, notes);
}

function allowed(
  policy: CompiledPolicy,
  rule: RuleId | undefined,
  reason: "rule" | "default" | "no-policy",
  notes: DecisionNotes | undefined,
): Decision {
  const permit = { policyVersion: policy.version, rule } as Permit;
  return notes === undefined ? { kind: "allow", permit, reason } : { kind: "allow", permit, reason, notes };
}

function denied(
  policyVersion: string,
  code: ErrorCode,
  rule: RuleId | undefined,
  reason: string,
  notes: DecisionNotes | undefined,
): Decision & { kind: "deny" } {
  const decision = { kind: "deny", code, rule, reason, nearest: undefined, policyVersion } as const;
  return notes === undefined ? decision : { ...decision, notes };
}

function byDefault(policy: CompiledPolicy, rules: RuleSet, call: CallView, side: Side): Decision {
  const notes = notesFor(policy, rules, call, side);
  if (side.fallback === "allow")
    return allowed(policy, undefined, rules.policyCount === 0 ? "no-policy" : "default", notes);
  const why =
    side.direction === "inbound"
      ? "no ALLOW policy applies to this workload, and the default is to deny"
      : "no OUTBOUND ALLOW policy applies to this workload, and the default is to deny";
  return denied(policy.version, "E_POLICY_DENIED_BY_DEFAULT", undefined, why, notes);
}

function anonymousHint({ options, memory }: CompiledPolicy, rule: number, call: CallView): string {
  const isAnonymous = !call.connection.hasPeer && options.mode === "strict" && memory.rules.ruleAt(rule).namesIdentity;
  return isAnonymous ? "; the rule names an identity and the caller has none" : "";
}

/** A call that no ALLOW rule matched. Looking for the nearest costs more than the verdict, so it waits until somebody reads it. */
class DefaultDenial {
  readonly kind = "deny";
  readonly code = "E_POLICY_DENIED_BY_DEFAULT";
  readonly rule = undefined;
  readonly policyVersion: string;
  readonly notes?: DecisionNotes;
  readonly #find: { policy: CompiledPolicy; rules: RuleSet; call: CallView; direction: Side["direction"] };
  #nearest: { readonly rule: NearestRule | undefined } | undefined;

  constructor(
    policy: CompiledPolicy,
    rules: RuleSet,
    call: CallView,
    direction: Side["direction"],
    notes: DecisionNotes | undefined,
  ) {
    this.policyVersion = policy.version;
    this.#find = { policy, rules, call, direction };
    if (notes !== undefined) this.notes = notes;
  }

  get nearest(): NearestRule | undefined {
    const { rules, call, direction } = this.#find;
    this.#nearest ??= { rule: nearestRule(rules.allow, call, direction) };
    return this.#nearest.rule;
  }

  get reason(): string {
    const { nearest } = this;
    if (nearest === undefined) return "no ALLOW rule matched, and none could: the ALLOW policies have no rules";
    const { rule, field, expected, actual } = nearest;
    return `no ALLOW rule matched; nearest ${rule}: ${field} wants ${expected}, call had ${actual}`;
  }

  /** So that JSON holds what is worked out late. */
  toJSON(): object {
    const { kind, code, rule, reason, nearest, policyVersion, notes } = this;
    return { kind, code, rule, reason, nearest, policyVersion, notes };
  }
}

const NO_PRINCIPALS: readonly string[] = [];
const NO_PROVIDERS: readonly ProviderRequest[] = [];
const NOBODY: ReadonlySet<string> = new Set();

function matchingProviders(
  policy: CompiledPolicy,
  { custom }: RuleSet,
  call: CallView,
  direction: Side["direction"],
): readonly ProviderRequest[] {
  if (custom.length === 0) return NO_PROVIDERS;
  const requests: ProviderRequest[] = [];
  for (const { provider, rules } of custom) {
    // Istio, which has no OUTBOUND policies, asks HTTP providers about HTTP only (section 6).
    const isHttp = policy.options.providers?.get(provider) === "http";
    if (isHttp && call.request === undefined && policy.options.mode === "istio" && direction === "inbound") continue;
    const rule = findRule(rules, call, direction);
    if (rule >= 0) requests.push({ provider, rule: policy.memory.rules.idOf(rule) });
  }
  return requests;
}

function canAsk({ options }: CompiledPolicy, provider: string, { request }: CallView): boolean {
  if (options.providers === undefined) return true;
  const protocol = options.providers.get(provider);
  return protocol !== undefined && (protocol === "grpc" || (request !== undefined && !isTunnel(request)));
}

/** What an egress proxy's tunnels are decided as. Over HTTP a provider would take the question for the wish to have such a tunnel. */
function isTunnel({ method, path }: RequestFacts): boolean {
  return method === "CONNECT" && path === "";
}

function notesFor(policy: CompiledPolicy, rules: RuleSet, call: CallView, side: Side): DecisionNotes | undefined {
  if (rules.dryRun === undefined && rules.audit.ruleCount === 0 && call.faults === undefined) return undefined;
  const audit = findRule(rules.audit, call, side.direction);
  const auditRule = audit < 0 ? undefined : policy.memory.rules.idOf(audit);
  const dryRun = rules.dryRun === undefined ? undefined : dryRunVerdict(policy, rules, call, side);
  if (auditRule === undefined && dryRun === undefined && call.faults === undefined) return undefined;
  return { auditRule, dryRun, conditionFaults: call.faults ?? [] };
}

function faultsOf({ faults }: CallView): DecisionNotes | undefined {
  return faults === undefined ? undefined : { auditRule: undefined, dryRun: undefined, conditionFaults: faults };
}

/** What would be if the dry-run policies were enforced as well. */
export function dryRunVerdict(
  policy: CompiledPolicy,
  rules: RuleSet,
  call: CallView,
  { direction, fallback }: Side,
): DryRunVerdict | undefined {
  const { dryRun } = rules;
  if (dryRun === undefined) return undefined;
  const idOf = (rule: number): RuleId => policy.memory.rules.idOf(rule);
  const deny = earlier(findRule(rules.deny, call, direction), findRule(dryRun.deny, call, direction));
  if (deny >= 0)
    return { verdict: "deny", rule: idOf(deny), reason: `DENY rule ${idOf(deny)}${anonymousHint(policy, deny, call)}` };
  if (rules.allowPolicyCount + dryRun.allowPolicyCount === 0)
    return { verdict: fallback, rule: undefined, reason: `no ALLOW policy applies, and the default is to ${fallback}` };
  const allow = earlier(findRule(rules.allow, call, direction), findRule(dryRun.allow, call, direction));
  if (allow >= 0) return { verdict: "allow", rule: idOf(allow), reason: `ALLOW rule ${idOf(allow)}` };
  return { verdict: "deny", rule: undefined, reason: "no ALLOW rule matches" };
}

/** Of two rules, either of which may be none. */
function earlier(a: number, b: number): number {
  return a < 0 || b < 0 ? Math.max(a, b) : Math.min(a, b);
}
