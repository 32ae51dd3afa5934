import type { SourcePosition } from "../core/errors.ts";
import type { TextPattern } from "./text-pattern.ts";

const IDENTITY_KINDS = ["principal", "namespace", "serviceAccount", "trustDomain"] as const;
const CONNECTION_KINDS = ["sourceIp", "remoteIp", "destinationIp", "port", "sni", "destinationPrincipal"] as const;
const TOKEN_KINDS = ["requestPrincipal", "audience", "presenter", "claim"] as const;
const HTTP_KINDS = ["host", "method", "path", "header", ...TOKEN_KINDS] as const;

/** What a field of a rule looks at. One kind may be written in `from`, in `to` or as a `when` key. */
export type FieldKind = IdentityKind | ConnectionKind | HttpKind;
/** Only a caller with a verified identity has these (authorization, section 5). */
export type IdentityKind = (typeof IDENTITY_KINDS)[number];
export type ConnectionKind = (typeof CONNECTION_KINDS)[number];
/** Only an HTTP request has these (authorization, section 7). */
export type HttpKind = (typeof HTTP_KINDS)[number];
/** Only a request with a verified token has these. */
export type TokenKind = (typeof TOKEN_KINDS)[number];

export const FIELD_KINDS: readonly FieldKind[] = [...IDENTITY_KINDS, ...CONNECTION_KINDS, ...HTTP_KINDS];

/** One field of a source, an operation or a condition, with values that were checked. */
export interface FieldModel {
  readonly kind: FieldKind;
  readonly negated: boolean;
  /** Never empty. Service accounts are always `<namespace>/<name>`. */
  readonly values: readonly string[];
  /** The values as the file has them, where that is not how they are compared. Those that were added stand behind them and have none. */
  readonly written?: readonly string[];
  /** Lower-case header name for kind "header", else "". */
  readonly header: string;
  /** For kind "claim": the names from the claims set inward. */
  readonly claim?: readonly string[];
  /** For kind "requestPrincipal": issuer and subject of each value, as patterns. */
  readonly requestPrincipals?: readonly RequestPrincipalPattern[];
  /** Where it stands in the rule, like `from[0].source.principals` or `when[1].notValues`. */
  readonly label: string;
  readonly at: SourcePosition;
}

/** What a value of requestPrincipals asks of `iss` and of `sub` (authorization, section 4). */
export interface RequestPrincipalPattern {
  readonly issuer: TextPattern;
  readonly subject: TextPattern;
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
  /** `conditions`: a CEL expression that must hold as well (countersign.dev/v1 only). */
  readonly expression?: ExpressionModel | undefined;
  readonly at: SourcePosition;
}

/** A checked CEL expression. */
export interface ExpressionModel {
  readonly text: string;
  readonly at: SourcePosition;
}

export type PolicyAction = "ALLOW" | "DENY" | "AUDIT" | "CUSTOM";

export interface PolicyModel {
  readonly namespace: string;
  readonly name: string;
  readonly action: PolicyAction;
  /** What calls it is about: those to this workload, or those that it makes (countersign.dev/v1 only). */
  readonly direction: "INBOUND" | "OUTBOUND";
  /** spec.provider.name of a CUSTOM policy. */
  readonly provider: string | undefined;
  /** istio.io/dry-run: not enforced; the record says what it would have done. */
  readonly dryRun: boolean;
  /** Written under countersign.dev/v1. */
  readonly ours: boolean;
  /** All of these labels must be on the workload; empty: every workload. */
  readonly selector: ReadonlyMap<string, string>;
  /** Bound to a gateway by targetRefs: never applies to a sidecar (istio mode only). */
  readonly elsewhere: boolean;
  readonly rules: readonly RuleModel[];
  readonly at: SourcePosition;
}

const httpKinds: ReadonlySet<FieldKind> = new Set(HTTP_KINDS);
const tokenKinds: ReadonlySet<FieldKind> = new Set(TOKEN_KINDS);
const identityKinds: ReadonlySet<FieldKind> = new Set(IDENTITY_KINDS);

export function isHttpOnly(kind: FieldKind): kind is HttpKind {
  return httpKinds.has(kind);
}

export function isToken(kind: FieldKind): kind is TokenKind {
  return tokenKinds.has(kind);
}

export function isIdentity(kind: FieldKind): kind is IdentityKind {
  return identityKinds.has(kind);
}
