import type { SourcePosition } from "../core/errors.ts";

/** What a field of a rule looks at. One kind may be written in `from`, in `to` or as a `when` key. */
export type FieldKind = IdentityKind | ConnectionKind | HttpKind;
/** Only a caller with a verified identity has these (authorization, section 5). */
export type IdentityKind = "principal" | "namespace" | "serviceAccount" | "trustDomain";
export type ConnectionKind = "sourceIp" | "remoteIp" | "destinationIp" | "port" | "sni";
/** Only an HTTP request has these (authorization, section 7). */
export type HttpKind = "host" | "method" | "path" | "header";

/** One field of a source, an operation or a condition, with values that were checked. */
export interface FieldModel {
  readonly kind: FieldKind;
  readonly negated: boolean;
  /** Never empty. Service accounts are always `<namespace>/<name>`. */
  readonly values: readonly string[];
  /** Lower-case header name for kind "header", else "". */
  readonly header: string;
  /** Where it stands in the rule, like `from[0].source.principals` or `when[1].notValues`. */
  readonly label: string;
  readonly at: SourcePosition;
}

/** Fields of one source or operation: all must match. */
export type FieldGroup = readonly FieldModel[];

export interface RuleModel {
  readonly index: number;
  /** One of these must match; empty: anyone. */
  readonly sources: readonly FieldGroup[];
  /** One of these must match; empty: anything. */
  readonly operations: readonly FieldGroup[];
  /** All of these must match. */
  readonly conditions: FieldGroup;
  readonly at: SourcePosition;
}

export interface PolicyModel {
  readonly namespace: string;
  readonly name: string;
  readonly action: "ALLOW" | "DENY";
  /** All of these labels must be on the workload; empty: every workload. */
  readonly selector: ReadonlyMap<string, string>;
  /** Bound to a gateway by targetRefs: never applies to a sidecar (istio mode only). */
  readonly elsewhere: boolean;
  readonly rules: readonly RuleModel[];
  readonly at: SourcePosition;
}

export function isHttpOnly(kind: FieldKind): kind is HttpKind {
  return kind === "host" || kind === "method" || kind === "path" || kind === "header";
}

export function isIdentity(kind: FieldKind): kind is IdentityKind {
  return kind === "principal" || kind === "namespace" || kind === "serviceAccount" || kind === "trustDomain";
}
