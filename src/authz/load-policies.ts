import type { Warning } from "../core/errors.ts";
import { appliesHere, compilePolicies } from "./compile-policies.ts";
import type { CompiledPolicy } from "./compiled-policy.ts";
import { collectFindings, type Findings } from "./findings.ts";
import { lintPolicies } from "./lint-policies.ts";
import type { PolicyModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { checkPorts } from "./port-reach.ts";
import { readPolicy } from "./read-policy.ts";
import { readYamlDocuments } from "./yaml-documents.ts";

/** Reads, checks and compiles a whole set of policies: Istio AuthorizationPolicy documents, any number in each file. Files that
 *  belong together must come in a stable order: of several rules that match, the first is the one reported. Throws
 *  CountersignErrors with every error of all files, each with its place and the fix; a set with an error is no set. */
export function loadPolicies(
  files: readonly { readonly file: string; readonly text: string }[],
  options: PolicyOptions,
): { readonly policy: CompiledPolicy; readonly warnings: readonly Warning[] } {
  const findings = collectFindings(options.mode);
  const policies: PolicyModel[] = [];
  for (const { file, text } of files) {
    for (const document of readYamlDocuments(file, text, findings)) {
      const policy = readPolicy(document, options, findings);
      if (policy !== undefined) policies.push(policy);
    }
  }
  refuseDuplicates(policies, findings);
  checkPorts(
    policies.filter((policy) => appliesHere(policy, options)),
    options,
    findings,
  );
  findings.throwIfAny();
  lintPolicies(policies, options, findings);
  return { policy: compilePolicies(policies, options), warnings: findings.warnings };
}

/** Rule ids must be unique: a record names exactly one rule. */
function refuseDuplicates(policies: readonly PolicyModel[], findings: Findings): void {
  const seen = new Map<string, PolicyModel>();
  for (const policy of policies) {
    const key = `${policy.namespace}/${policy.name}`;
    const first = seen.get(key);
    if (first === undefined) seen.set(key, policy);
    else {
      const place = `${first.at.file}:${first.at.line ?? 1}`;
      findings.error(
        "E_POLICY_DUPLICATE",
        policy.at,
        `policy ${key} already stands at ${place}`,
        "rename or remove one",
      );
    }
  }
}
