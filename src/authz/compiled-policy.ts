import type { RuleId } from "../core/decision.ts";
import type { PeerAuthenticationModel, RequestAuthenticationModel } from "./authentication-model.ts";
import type { CallView } from "./call-view.ts";
import type { IndexKeys } from "./index-keys.ts";
import type { CompiledExpression } from "./match-expression.ts";
import type { PathIndex } from "./path-index.ts";
import type { PackedMemory, PolicyMemory } from "./policy-memory.ts";
import type { FieldModel, PolicyAction, PolicyModel, RuleModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import type { RequestRules } from "./request-rules.ts";
import type { IndexLayout, RuleIndex } from "./rule-index.ts";

/** The question of a field. Rules whose fields ask the same share it. */
export interface Matcher {
  /** Unique within a set of policies. */
  readonly number: number;
  /** Place of its answer among those that a connection keeps, or -1. */
  readonly kept: number;
  /** The answer includes negation, absence and everything that depends on mode and action. */
  readonly matches: (call: CallView) => boolean;
}

/** One field of a rule, ready to be asked. */
export interface CompiledField {
  readonly model: FieldModel;
  readonly matcher: Matcher;
  /** Its texts, whether it is negated or not; undefined: no texts say enough. */
  readonly keys: IndexKeys | undefined;
}

export type CompiledGroup = readonly CompiledField[];

export interface CompiledRule {
  readonly id: RuleId;
  readonly policy: PolicyModel;
  readonly model: RuleModel;
  /** Position among all rules, in the order of the files: of several that match, the first is reported. */
  readonly order: number;
  readonly action: PolicyAction;
  readonly sources: readonly CompiledGroup[];
  readonly operations: readonly CompiledGroup[];
  readonly conditions: CompiledGroup;
  readonly expression: CompiledExpression | undefined;
  /** Has a field that only HTTP requests have. */
  readonly readsHttp: boolean;
  /** Has a field about the caller's identity. */
  readonly namesIdentity: boolean;
}

/** The rules that have one provider asked. */
interface CustomRules<Index> {
  readonly provider: string;
  readonly rules: Index;
  /** The first that looks at the destination's address, which an egress proxy does not know at once. */
  readonly addressRule: RuleId | undefined;
}

/** The rules about one direction of calls. */
export interface RuleSet<Index = RuleIndex> {
  readonly deny: Index;
  readonly allow: Index;
  readonly audit: Index;
  /** By provider, in the order in which they are first named. */
  readonly custom: readonly CustomRules<Index>[];
  /** Without any, the default decides. */
  readonly allowPolicyCount: number;
  /** Policies that are not enforced; undefined when there are none. */
  readonly dryRun: { readonly deny: Index; readonly allow: Index; readonly allowPolicyCount: number } | undefined;
  /** How many policies, dry-run ones included. */
  readonly policyCount: number;
}

/** What is known of a set of policies besides its rules: plain data, which can be posted to a thread. */
interface PolicySummary {
  /** SHA-256 over everything that decides, first 16 hexadecimal digits: equal inputs, equal version. */
  readonly version: string;
  readonly options: PolicyOptions;
  readonly policyCount: number;
  readonly ruleCount: number;
  /** How many answers a connection keeps. */
  readonly keptAnswers: number;
  /** Some rule compares hosts. */
  readonly comparesHosts: boolean;
  /** Some rule about inbound calls looks at HTTP, asks an HTTP provider, or a RequestAuthentication applies. */
  readonly readsHttp: boolean;
  /** Those of the listeners' ports that no such rule applies to. */
  readonly portsWithoutHttpRules: ReadonlySet<number>;
  /** Those about outbound calls that decide about tunnels whose bytes nobody reads. */
  readonly requestRules: RequestRules;
  /** Some rule's verdict changes with time: open connections must be decided again as it passes. */
  readonly dependsOnTime: boolean;
  /** Every path value of the policies about inbound calls, to see whether two spellings of a path would be matched differently. */
  readonly paths: PathIndex;
  /** The same for outbound calls. */
  readonly outboundPaths: PathIndex;
  /** Those that apply to this workload, the oldest of several equally specific first. */
  readonly peerAuthentications: readonly PeerAuthenticationModel[];
  readonly requestAuthentications: readonly RequestAuthenticationModel[];
}

/** A set of policies for one workload, compiled, but for its rules. */
export interface PolicyLayout extends PolicySummary {
  readonly memory: PackedMemory;
  readonly inbound: RuleSet<IndexLayout>;
  readonly outbound: RuleSet<IndexLayout>;
}

/** The same with its rules, ready to decide. Immutable; made by loadPolicies, replaced whole. */
export interface CompiledPolicy extends PolicySummary {
  readonly memory: PolicyMemory;
  readonly inbound: RuleSet;
  readonly outbound: RuleSet;
  /** The policies that apply to this workload. */
  readonly policies: readonly PolicyModel[];
}
