import type { ErrorCode } from "./error-codes.ts";

/** `ns[<ns>]-policy[<name>]-rule[<index>]`, the same text in every output. */
export type RuleId = string & { readonly __brand: "RuleId" };

/** The right to forward one call. Made only in src/authz/decide.ts; the upstream API takes one as a parameter.
 *  It carries its policy version: a Permit of another version than the current one must be decided anew. */
export interface Permit {
  readonly __brand: "Permit";
  readonly policyVersion: string;
  /** The ALLOW rule that matched; undefined when the default allowed. */
  readonly rule: RuleId | undefined;
}

/** The rule that came nearest to allowing a call, and the first field of it that failed. */
export interface NearestRule {
  readonly rule: RuleId;
  /** e.g. `from[0].source.principals`, `to[0].operation.methods`. */
  readonly field: string;
  /** What the policy wants there, shortened to 256 characters. */
  readonly expected: string;
  /** What the call had there, escaped and shortened to 256 characters. Never a header value. */
  readonly actual: string;
}

/** What enforcing the dry-run policies as well would have changed. */
export interface DryRunVerdict {
  readonly verdict: "allow" | "deny";
  /** The rule that would have decided; undefined for a default. */
  readonly rule: RuleId | undefined;
  /** One line for people. */
  readonly reason: string;
}

/** A rule's `conditions` that ended in an error or cost too much: it counted as false in ALLOW, and as true in DENY, CUSTOM and AUDIT. */
export interface ConditionFault {
  readonly rule: RuleId;
  /** One line for people, without values of the call. */
  readonly message: string;
}

/** What a decision has to say besides its verdict. */
export interface DecisionNotes {
  /** The AUDIT rule that matched: the record is marked. */
  readonly auditRule: RuleId | undefined;
  /** Set when there are dry-run policies. */
  readonly dryRun: DryRunVerdict | undefined;
  readonly conditionFaults: readonly ConditionFault[];
}

export type Decision =
  | {
      readonly kind: "allow";
      readonly permit: Permit;
      readonly reason: "rule" | "default" | "no-policy";
      readonly notes?: DecisionNotes | undefined;
    }
  | {
      readonly kind: "deny";
      readonly code: ErrorCode;
      /** The DENY or CUSTOM rule that matched, or undefined for a default deny. */
      readonly rule: RuleId | undefined;
      /** One line for people. */
      readonly reason: string;
      readonly nearest: NearestRule | undefined;
      readonly policyVersion: string;
      readonly notes?: DecisionNotes | undefined;
    };

/** A provider of external authorization that must allow the call first. */
export interface ProviderRequest {
  /** spec.provider.name. */
  readonly provider: string;
  /** The CUSTOM rule that matched. */
  readonly rule: RuleId;
}

/** A decision that waits for providers: all of them are asked, and any that denies, fails or is late denies the call. Then `decision` stands, if
 *  its policy version still is the one in force. */
export interface AskDecision {
  readonly kind: "ask";
  /** Never empty; each provider once. */
  readonly providers: readonly [ProviderRequest, ...ProviderRequest[]];
  readonly decision: Decision;
  readonly policyVersion: string;
}

export type CallDecision = Decision | AskDecision;
