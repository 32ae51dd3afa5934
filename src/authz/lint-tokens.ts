import { appliesHere, type PolicyDocuments } from "./compile-policies.ts";
import type { Findings } from "./findings.ts";
import { isToken, type RuleModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";

/** Warns of policies that look at a request's token where no RequestAuthentication has one verified: to them every request comes without
 *  (authorization, sections 4 and 9). One warning a policy. */
export function* warnOfTokens(
  { policies, requestAuthentications }: PolicyDocuments,
  options: PolicyOptions,
  findings: Findings,
): Generator<void, void> {
  const verifies = requestAuthentications.some(
    (document) => document.jwtRules.length > 0 && appliesHere(document, options),
  );
  // Policies without the listeners of a configuration are no whole set: what verifies tokens may stand elsewhere.
  if (verifies || options.listeners.every(({ mtls }) => mtls === undefined)) return;
  for (const policy of policies) {
    yield;
    if (policy.direction === "OUTBOUND" || !appliesHere(policy, options)) continue;
    const found = policy.rules.flatMap((rule) => tokenPlace(rule) ?? []);
    const [first] = found;
    if (first === undefined) continue;
    const more = found.length === 1 ? "" : `, and ${found.length - 1} more rules of the policy do`;
    findings.warn(
      "W_POLICY_NO_TOKENS",
      first.at,
      `${first.label} looks at the request's token${more}, and no RequestAuthentication applies to this workload: every request counts as without one`,
      "add a RequestAuthentication that verifies the tokens, or remove what looks at them",
    );
  }
}

/** The first of a rule that looks at a token. */
function tokenPlace({ index, sources, operations, conditions, expression }: RuleModel) {
  const field = [...sources.flat(), ...operations.flat(), ...conditions].find(({ kind }) => isToken(kind));
  if (field !== undefined) return { label: `rule[${index}]: ${field.label}`, at: field.at };
  const asks = expression !== undefined && /\brequest\s*\.\s*auth\b/.test(expression.text);
  return asks ? { label: `rule[${index}]: conditions`, at: expression.at } : undefined;
}
