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

export type Decision =
  | { readonly kind: "allow"; readonly permit: Permit; readonly reason: "rule" | "default" | "no-policy" }
  | {
      readonly kind: "deny";
      readonly code: ErrorCode;
      /** The DENY rule that matched, or undefined for a default deny. */
      readonly rule: RuleId | undefined;
      /** One line for people. */
      readonly reason: string;
      readonly nearest: NearestRule | undefined;
      readonly policyVersion: string;
    };
