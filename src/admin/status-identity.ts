import type { KeyObject } from "node:crypto";
import type { CountersignError } from "../core/errors.ts";
import type { IdentitySource, IdentityState, TrustBundle } from "../core/identity.ts";

/** A problem as status and readiness show it. */
export interface StatusProblem {
  readonly code: string;
  readonly message: string;
  readonly fix?: string | undefined;
}

/** The whole identity state as status shows it. Times are RFC 3339 in UTC. */
export interface StatusIdentity {
  /** Where identity comes from. */
  readonly source: string;
  readonly state: IdentityState["kind"];
  readonly generation?: number | undefined;
  readonly svids: readonly {
    readonly spiffeId: string;
    readonly hint: string;
    readonly serial: string;
    /** "EC P-256", "RSA 2048", "Ed25519". */
    readonly key?: string;
    readonly issuer?: string;
    readonly notBefore: string;
    readonly notAfter: string;
  }[];
  readonly bundles: readonly {
    readonly trustDomain: string;
    readonly authorities: number;
    /** When the first of them expires. */
    readonly firstExpiry?: string | undefined;
    readonly crls?: number;
    /** Keys for JWT-SVIDs; absent: the source gives none for this domain. */
    readonly jwtKeys?: number | undefined;
  }[];
  /** Bundles that come from partners' bundle endpoints. */
  readonly federation?:
    | readonly {
        readonly trustDomain: string;
        readonly url: string;
        /** Absent: never; the bootstrap bundle is in use, if there is one. */
        readonly fetchedAt?: string | undefined;
        /** 64-bit. */
        readonly sequence?: string | undefined;
        readonly nextFetch: string;
        readonly problem?: StatusProblem | undefined;
      }[]
    | undefined;
  /** A source that takes over once it has an SVID. */
  readonly pending?: { readonly source: string; readonly problem?: StatusProblem | undefined } | undefined;
  readonly problem?: StatusProblem | undefined;
}

export function problemOf({ code, message, fix }: CountersignError): StatusProblem {
  return { code, message, fix };
}

export function statusIdentity({
  description,
  state,
  pending,
  federation,
}: Pick<IdentitySource, "description" | "state" | "pending" | "federation">): StatusIdentity {
  const snapshot = state.kind === "serving" || state.kind === "stale" ? state.snapshot : undefined;
  const problem = state.kind === "serving" ? undefined : state.problem;
  return {
    source: description,
    state: state.kind,
    generation: snapshot?.generation,
    svids: (snapshot?.svids ?? []).map(({ spiffeId, hint, serial, chain, key, notBeforeMs, notAfterMs }) => ({
      spiffeId,
      hint,
      serial,
      key: keyText(key),
      issuer: (chain[0]?.issuer ?? "").replaceAll("\n", ", "),
      notBefore: isoTime(notBeforeMs),
      notAfter: isoTime(notAfterMs),
    })),
    bundles: Array.from(snapshot?.bundles.values() ?? [], (bundle) => ({
      trustDomain: bundle.trustDomain,
      authorities: bundle.authorities.length,
      firstExpiry: firstExpiry(bundle),
      crls: bundle.crls.length,
      jwtKeys: snapshot?.jwtBundles?.get(bundle.trustDomain)?.keys.length,
    })),
    federation: federation?.map(({ trustDomain, url, fetchedAtMs, sequence, nextFetchMs, problem: failed }) => ({
      trustDomain,
      url,
      fetchedAt: fetchedAtMs === undefined ? undefined : isoTime(fetchedAtMs),
      sequence: sequence?.toString(),
      nextFetch: isoTime(nextFetchMs),
      problem: failed && problemOf(failed),
    })),
    pending: pending && { source: pending.description, problem: pending.problem && problemOf(pending.problem) },
    problem: problem && problemOf(problem),
  };
}

function firstExpiry({ authorities }: TrustBundle): string | undefined {
  if (authorities.length === 0) return undefined;
  return isoTime(Math.min(...authorities.map(({ validToDate }) => validToDate.getTime())));
}

function keyText({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  const { namedCurve, modulusLength } = asymmetricKeyDetails ?? {};
  if (asymmetricKeyType === "rsa") return `RSA ${modulusLength ?? 0}`;
  if (asymmetricKeyType === "ed25519") return "Ed25519";
  return namedCurve === undefined ? (asymmetricKeyType ?? "unknown") : `EC ${curves[namedCurve] ?? namedCurve}`;
}

/** OpenSSL's names as everybody else writes them. */
const curves: Readonly<Record<string, string>> = { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" };

const isoTime = (ms: number): string => new Date(ms).toISOString();
