import type { JwtSvidVerifier } from "../certs/jwt-svid/jwt-svid-verifier.ts";
import type { InboundJwtSvid } from "../config/sidecar-config.ts";
import type { RequestIdentity } from "../core/call-facts.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentityState, JwtBundle } from "../core/identity.ts";
import type { SpiffeId, TrustDomain } from "../core/spiffe-id.ts";
import type { Fields } from "./http1/http1-events.ts";
import { Refusal } from "./refusal.ts";

/** Who asks, and by what it is judged. */
export interface JwtSvidQuestion {
  readonly rule: InboundJwtSvid;
  readonly verify: JwtSvidVerifier;
  readonly identity: IdentityState;
  /** Our SPIFFE ID on this listener: the audience where none is configured. */
  readonly ours: SpiffeId | undefined;
  /** Whether the connection has a verified peer. */
  readonly isVerified: boolean;
}

/** What came of it: the fields without the token, and whose it was. */
export interface FoundJwtSvid {
  readonly fields: Fields;
  readonly identity: RequestIdentity;
}

/** RFC 6750 section 3.1 */
const CHALLENGE = ["www-authenticate", 'Bearer error="invalid_token"'];
const NO_BUNDLES: ReadonlyMap<TrustDomain, JwtBundle> = new Map();

/** Looks for the JWT-SVID of a request and proves it. undefined: there is none, and none is required. The token is taken out:
 *  the app has no use for it but to pass it on. */
export function checkJwtSvid(
  fields: Fields,
  question: JwtSvidQuestion,
  nowMs: number,
): FoundJwtSvid | Refusal | undefined {
  const { rule, verify, identity, ours, isVerified } = question;
  const token = tokenIn(fields, rule.header);
  if (token instanceof CountersignError) return refusal(token);
  if (token === undefined) {
    if (!rule.required) return undefined;
    return refusal(new CountersignError("E_JWT_SVID_MISSING", `there is no JWT-SVID in ${rule.header}`));
  }
  if (!isVerified && !rule.plaintext)
    return refusal(new CountersignError("E_JWT_SVID_PLAINTEXT", "the caller has proven no SVID on this connection"));
  const snapshot = "snapshot" in identity ? identity.snapshot : undefined;
  const audiences = rule.audience.length > 0 ? rule.audience : ours === undefined ? [] : [ours];
  const verdict = verify(token, audiences, snapshot?.jwtBundles ?? NO_BUNDLES, nowMs);
  if (verdict.kind === "refused") return refusal(new CountersignError(verdict.code, verdict.reason));
  return { fields: withoutField(fields, rule.header), identity: identityOf(verdict.spiffeId, verdict.claims) };
}

/** Two proofs of who asks are no proof: policy could be shown the one and mean the other. */
export function refuseTwoIdentities(): Refusal {
  return refusal(new CountersignError("E_JWT_SVID_SEVERAL", "the request has a JWT-SVID and another verified token"));
}

function refusal(error: CountersignError): Refusal {
  return new Refusal(error, 401, CHALLENGE);
}

function tokenIn({ raw, lower }: Fields, header: string): string | CountersignError | undefined {
  const at = lower.indexOf(header);
  if (at === -1) return undefined;
  if (lower.includes(header, at + 1))
    return new CountersignError("E_JWT_SVID_SEVERAL", `there are several lines of ${header}`);
  const value = raw[at * 2 + 1] ?? "";
  if (header !== "authorization") return value;
  const scheme = /^bearer[ \t]+/i.exec(value);
  return scheme === null ? undefined : value.slice(scheme[0].length).trim();
}

function withoutField({ raw, lower }: Fields, header: string): Fields {
  const kept = lower.flatMap((name, i) => (name === header ? [] : [i]));
  return {
    lower: kept.map((i) => lower[i] ?? ""),
    raw: kept.flatMap((i) => [raw[i * 2] ?? "", raw[i * 2 + 1] ?? ""]),
  };
}

/** The ID itself tells issuer from subject, whatever `iss` says: only the bundle of its trust domain has proven it, and a
 *  partner must not speak in another issuer's name. Parted at its last slash, where policies part a request principal, so
 *  that the principal is the SPIFFE ID. */
function identityOf(spiffeId: SpiffeId, claims: Readonly<Record<string, unknown>>): RequestIdentity {
  const { aud } = claims;
  const slash = spiffeId.lastIndexOf("/");
  return {
    issuer: spiffeId.slice(0, slash),
    subject: spiffeId.slice(slash + 1),
    audiences: typeof aud === "string" ? [aud] : ((aud ?? []) as readonly string[]),
    presenter: "",
    claims,
  };
}
