import type { Reach } from "./match-identity.ts";
import type { FieldModel, PolicyModel } from "./policy-model.ts";
import type { PolicyMode } from "./policy-options.ts";

/** What a field's meaning depends on besides its values. */
export interface FieldContext {
  readonly mode: PolicyMode;
  readonly action: PolicyModel["action"];
  /** The local trust domain and its aliases. */
  readonly home: readonly string[];
  /** The same source (or the same rule's conditions) names trust domains, which lifts the restriction to home. */
  readonly namesTrustDomain: boolean;
  /** Written under countersign.dev/v1, where principals may be templates. */
  readonly ours: boolean;
  /** About the calls that the workload makes. */
  readonly outbound: boolean;
}

/** Whether the field says nothing as long as the destination's address is still looked up: what is not there yet is no reason to refuse or to ask. */
export function waitsForAddress({ kind, negated }: FieldModel, { action, outbound }: FieldContext): boolean {
  return kind === "destinationIp" && negated && outbound && (action === "DENY" || action === "CUSTOM");
}

/** Where an identity field of the rule may match. */
export function reachOf(model: FieldModel, { mode, action, home, namesTrustDomain }: FieldContext): Reach {
  // Only what grants is narrowed. A `not*` of an ALLOW and all of a DENY keep the wide meaning, which refuses more callers
  // of an ALLOW and misses none of a DENY.
  if (mode === "istio" || action !== "ALLOW" || model.negated) return { kind: "anywhere" };
  return { kind: "kubernetes", trustDomains: namesTrustDomain ? undefined : new Set(home) };
}
