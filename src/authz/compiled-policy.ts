import type { RuleId } from "../core/decision.ts";
import type { JwtRuleModel } from "./authentication-model.ts";
import type { CallView } from "./call-view.ts";
import type { PathIndex } from "./path-index.ts";
import type { FieldModel, PolicyModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import type { RuleIndex } from "./rule-index.ts";
import type { TextPattern } from "./text-pattern.ts";

/** What a field says to the index: it can only match calls that have one of these texts in the dimension. */
export interface IndexKeys {
  /** A field kind, or `header:<name>`. */
  readonly dimension: string;
  readonly patterns: readonly TextPattern[];
}

/** One field of a rule, ready to be asked. */
export interface CompiledField {
  readonly model: FieldModel;
  /** The answer includes negation, absence and everything that depends on mode and action. */
  readonly matches: (call: CallView) => boolean;
  /** undefined: negated, or with a pattern that fits everything. */
  readonly keys: IndexKeys | undefined;
}

export type CompiledGroup = readonly CompiledField[];

export interface CompiledRule {
  readonly id: RuleId;
  /** Position among all rules, in the order of the files: of several that match, the first is reported. */
  readonly order: number;
  readonly action: PolicyModel["action"];
  readonly sources: readonly CompiledGroup[];
  readonly operations: readonly CompiledGroup[];
  readonly conditions: CompiledGroup;
  /** Has a field that only HTTP requests have. */
  readonly readsHttp: boolean;
  /** Has a field about the caller's identity. */
  readonly namesIdentity: boolean;
}

/** A set of policies for one workload, compiled. Immutable; made by loadPolicies, replaced whole. */
export interface CompiledPolicy {
  /** SHA-256 over everything that decides, first 16 hexadecimal digits: equal inputs, equal version. */
  readonly version: string;
  readonly options: PolicyOptions;
  /** The policies that apply to this workload. */
  readonly policies: readonly PolicyModel[];
  readonly policyCount: number;
  readonly ruleCount: number;
  /** Without any, the default of the options decides. */
  readonly allowPolicyCount: number;
  readonly deny: RuleIndex;
  readonly allow: RuleIndex;
  readonly comparesHosts: boolean;
  /** Some rule looks at HTTP. */
  readonly readsHttp: boolean;
  /** Those of the listeners' ports that no such rule applies to. */
  readonly portsWithoutHttpRules: ReadonlySet<number>;
  /** Of the RequestAuthentication documents that apply to this workload, in the order of the files. Absent: none. What the proxy verifies
   *  tokens by. */
  readonly jwtRules?: readonly JwtRuleModel[];
  /** By the name of an inbound listener: the mode in force there, where PeerAuthentication documents change what the configuration says. */
  readonly mtls?: ReadonlyMap<string, "strict" | "permissive" | "disable">;
  /** Every path value of the policies, to see whether two spellings of a path would be matched differently. */
  readonly paths: PathIndex;
}
