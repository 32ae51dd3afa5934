import type { SourcePosition } from "../core/errors.ts";

/** `mtls.mode` of Istio. */
export type MtlsSetting = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

/** A PeerAuthentication document after its checks. */
export interface PeerAuthenticationModel {
  readonly namespace: string;
  readonly name: string;
  /** All of these labels must be on the workload; empty: every workload of the namespace. */
  readonly selector: ReadonlyMap<string, string>;
  readonly mtls: MtlsSetting;
  /** By the app's port. UNSET inherits `mtls`. */
  readonly portLevel: ReadonlyMap<number, MtlsSetting>;
  /** metadata.creationTimestamp in milliseconds since the epoch: of several at one level the oldest wins. Without one a
   *  document counts as younger than all that have one, and the order of the files decides. */
  readonly createdAtMs: number | undefined;
  readonly at: SourcePosition;
}

/** One place where a token may stand. */
export interface JwtHeaderPlace {
  /** Lower case. */
  readonly name: string;
  /** What stands before the token, such as `Bearer `; "" if nothing. */
  readonly prefix: string;
}

/** One `jwtRules` item after its checks, with Istio's defaults filled in. */
export interface JwtRuleModel {
  readonly issuer: string;
  /** Empty: any audience (istio mode only). */
  readonly audiences: readonly string[];
  /** Neither this nor `jwks`: OIDC discovery from the issuer. */
  readonly jwksUri: string | undefined;
  /** A JWK set as JSON text. */
  readonly jwks: string | undefined;
  /** Where tokens are looked for, in this order: headers, parameters, cookies. When the document names no place: `Authorization: Bearer`
   *  and the `access_token` parameter. */
  readonly fromHeaders: readonly JwtHeaderPlace[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
  /** Lower-case header that gets the payload as base64url. */
  readonly outputPayloadToHeader: string | undefined;
  readonly outputClaimToHeaders: readonly {
    /** Lower case. */
    readonly header: string;
    /** As written; `.` parts nested names. */
    readonly claim: string;
  }[];
  /** `scope` and `permission` included. */
  readonly spaceDelimitedClaims: readonly string[];
  readonly forwardOriginalToken: boolean;
  /** Limit of a JWKS fetch, milliseconds. */
  readonly timeoutMs: number;
  readonly at: SourcePosition;
}

/** A RequestAuthentication document after its checks. */
export interface RequestAuthenticationModel {
  readonly namespace: string;
  readonly name: string;
  readonly selector: ReadonlyMap<string, string>;
  /** Bound to a gateway by targetRefs: never applies to a sidecar (istio mode only). */
  readonly elsewhere: boolean;
  readonly jwtRules: readonly JwtRuleModel[];
  readonly at: SourcePosition;
}
