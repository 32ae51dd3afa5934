// JWT-SVIDs for tests, sound by default and with any defect on request, written by hand: a library would refuse to make
// half of what must be refused.
import { constants, createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { makeJwtBundle } from "../../src/certs/jwt-svid/jwt-keys.ts";
import type { ErrorCode } from "../../src/core/error-codes.ts";
import type { JwtBundle } from "../../src/core/identity.ts";
import { parseTrustDomain, type TrustDomain } from "../../src/core/spiffe-id.ts";

export const TOKEN_ID = "spiffe://example.org/ns/shop/sa/web";
export const AUDIENCE = "spiffe://example.org/ns/shop/sa/orders";

const ec = (namedCurve: string) => generateKeyPairSync("ec", { namedCurve });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const pairs = {
  p256: ec("P-256"),
  p384: ec("P-384"),
  p521: ec("P-521"),
  rsa,
  partner: ec("P-256"),
  stranger: ec("P-256"),
};
type KeyName = keyof typeof pairs;

const bundleOf = (name: string, keys: readonly KeyName[]): JwtBundle =>
  makeJwtBundle(
    parseTrustDomain(name),
    keys.map((keyId) => ({ keyId, key: pairs[keyId].publicKey })),
  );
export const jwtBundles: ReadonlyMap<TrustDomain, JwtBundle> = new Map(
  [
    bundleOf("example.org", ["p256", "p384", "p521", "rsa"]),
    bundleOf("partner.org", ["partner"]),
    bundleOf("empty.org", []),
  ].map((bundle) => [bundle.trustDomain, bundle]),
);

export interface TokenParts {
  readonly key?: KeyName;
  readonly alg?: string;
  /** Merged into the header; undefined removes a member. */
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
  /** Instead of what `header` and `claims` make. */
  readonly headerText?: string;
  readonly claimsText?: string | Uint8Array;
  /** Rewrites the finished token. */
  readonly rewrite?: (token: string) => string;
  readonly signature?: (signed: string) => Buffer;
}

const algs: Readonly<Record<string, { readonly hash: string; readonly isPss?: true }>> = {
  ES256: { hash: "sha256" },
  ES384: { hash: "sha384" },
  ES512: { hash: "sha512" },
  RS256: { hash: "sha256" },
  RS384: { hash: "sha384" },
  RS512: { hash: "sha512" },
  PS256: { hash: "sha256", isPss: true },
  PS384: { hash: "sha384", isPss: true },
  PS512: { hash: "sha512", isPss: true },
};

export const encode64 = (value: string | Uint8Array): string => Buffer.from(value).toString("base64url");

/** A compact JWS. `nowMs`: what its times are counted from; it lives five minutes. */
export function jwtSvid(nowMs: number, parts: TokenParts = {}): string {
  const keyName = parts.key ?? "p256";
  const alg =
    parts.alg ?? (keyName === "rsa" ? "RS256" : keyName === "p384" ? "ES384" : keyName === "p521" ? "ES512" : "ES256");
  const now = Math.floor(nowMs / 1000);
  const header = parts.headerText ?? JSON.stringify({ alg, kid: keyName, typ: "JWT", ...parts.header });
  const claims =
    parts.claimsText ?? JSON.stringify({ sub: TOKEN_ID, aud: [AUDIENCE], iat: now, exp: now + 300, ...parts.claims });
  const signed = `${encode64(header)}.${encode64(claims)}`;
  const signature = parts.signature?.(signed) ?? signatureOf(signed, alg, pairs[keyName].privateKey);
  const token = `${signed}.${encode64(signature)}`;
  return parts.rewrite?.(token) ?? token;
}

function signatureOf(signed: string, alg: string, key: KeyObject): Buffer {
  const { hash, isPss } = algs[alg] ?? { hash: "sha256" };
  if (key.asymmetricKeyType === "ec") return sign(hash, Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
  const padding = isPss === true ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING;
  return sign(hash, Buffer.from(signed), { key, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST });
}

const publicPem = pairs.rsa.publicKey.export({ type: "spki", format: "pem" });

export type BadToken = readonly [what: string, code: ErrorCode, parts: (now: number) => TokenParts];

/** Every rule for a JWT-SVID, broken one at a time. `now` is in seconds. */
export const badTokens: readonly BadToken[] = [
  ["no dots", "E_JWT_SVID_MALFORMED", () => ({ rewrite: (token) => token.replaceAll(".", "") })],
  ["two parts", "E_JWT_SVID_MALFORMED", () => ({ rewrite: (token) => token.split(".").slice(0, 2).join(".") })],
  ["four parts", "E_JWT_SVID_MALFORMED", () => ({ rewrite: (token) => `${token}.x` })],
  ["no signature", "E_JWT_SVID_MALFORMED", () => ({ rewrite: (token) => token.replace(/[^.]*$/, "") })],
  ["base64 with padding", "E_JWT_SVID_MALFORMED", () => ({ rewrite: (token) => `${token}==` })],
  ["base64 of the other alphabet", "E_JWT_SVID_MALFORMED", () => ({ rewrite: (token) => token.replace(/^./, "+") })],
  [
    "the JSON serialisation",
    "E_JWT_SVID_MALFORMED",
    () => ({ rewrite: (token) => JSON.stringify({ payload: token }).replaceAll(".", "") }),
  ],
  ["a header that is no JSON", "E_JWT_SVID_MALFORMED", () => ({ headerText: "header" })],
  ["a header that is an array", "E_JWT_SVID_MALFORMED", () => ({ headerText: "[]" })],
  [
    "alg twice in the header",
    "E_JWT_SVID_MALFORMED",
    () => ({ headerText: '{"alg":"none","alg":"ES256","kid":"p256"}' }),
  ],
  ["claims that are no JSON", "E_JWT_SVID_MALFORMED", () => ({ claimsText: "claims" })],
  [
    "claims that are no UTF-8",
    "E_JWT_SVID_MALFORMED",
    () => ({ claimsText: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]) }),
  ],
  [
    "sub twice",
    "E_JWT_SVID_MALFORMED",
    (now) => ({
      claimsText: `{"sub":"${TOKEN_ID}","sub":"spiffe://example.org/admin","aud":"${AUDIENCE}","exp":${now + 300}}`,
    }),
  ],
  ["a token of 16385 characters", "E_JWT_SVID_TOO_LONG", () => ({ claims: { filler: "x".repeat(12_400) } })],
  ["alg none", "E_JWT_SVID_ALGORITHM", () => ({ header: { alg: "none" } })],
  [
    "alg none without signature",
    "E_JWT_SVID_ALGORITHM",
    () => ({ header: { alg: "none" }, rewrite: (token) => token.replace(/[^.]*$/, "") }),
  ],
  ["alg in other letters", "E_JWT_SVID_ALGORITHM", () => ({ header: { alg: "es256" } })],
  ["no alg", "E_JWT_SVID_ALGORITHM", () => ({ header: { alg: undefined } })],
  ["EdDSA, which the standard does not list", "E_JWT_SVID_ALGORITHM", () => ({ header: { alg: "EdDSA" } })],
  [
    "HS256 with the public key as secret",
    "E_JWT_SVID_ALGORITHM",
    () => ({
      key: "rsa",
      header: { alg: "HS256" },
      signature: (signed) => createHmac("sha256", publicPem).update(signed).digest(),
    }),
  ],
  ["an RSA algorithm for an EC key", "E_JWT_SVID_ALGORITHM", () => ({ header: { alg: "RS256" } })],
  ["an EC algorithm for an RSA key", "E_JWT_SVID_ALGORITHM", () => ({ key: "rsa", header: { alg: "ES256" } })],
  ["ES256 for a P-384 key", "E_JWT_SVID_ALGORITHM", () => ({ key: "p384", header: { alg: "ES256" } })],
  ["a member name of Object as alg", "E_JWT_SVID_ALGORITHM", () => ({ header: { alg: "constructor" } })],
  ["another typ", "E_JWT_SVID_TYPE", () => ({ header: { typ: "at+jwt" } })],
  ["typ in other letters", "E_JWT_SVID_TYPE", () => ({ header: { typ: "jwt" } })],
  ["a critical extension", "E_JWT_SVID_CRITICAL", () => ({ header: { crit: ["b64"], b64: false } })],
  ["an empty list of critical extensions", "E_JWT_SVID_CRITICAL", () => ({ header: { crit: [] } })],
  ["no kid", "E_JWT_SVID_KEY_ID", () => ({ header: { kid: undefined } })],
  ["an empty kid", "E_JWT_SVID_KEY_ID", () => ({ header: { kid: "" } })],
  ["a kid that is a number", "E_JWT_SVID_KEY_ID", () => ({ header: { kid: 1 } })],
  ["an unknown kid", "E_JWT_SVID_KEY_UNKNOWN", () => ({ header: { kid: "other" } })],
  ["another trust domain's kid", "E_JWT_SVID_KEY_UNKNOWN", () => ({ key: "partner" })],
  [
    "a key of the token's own",
    "E_JWT_SVID_KEY_UNKNOWN",
    () => ({ key: "stranger", header: { jwk: pairs.stranger.publicKey.export({ format: "jwk" }) } }),
  ],
  ["no sub", "E_JWT_SVID_SUBJECT", () => ({ claims: { sub: undefined } })],
  ["a sub that is no SPIFFE ID", "E_JWT_SVID_SUBJECT", () => ({ claims: { sub: "web" } })],
  ["a sub that is a list", "E_JWT_SVID_SUBJECT", () => ({ claims: { sub: [TOKEN_ID] } })],
  [
    "a sub with an upper-case trust domain",
    "E_JWT_SVID_SUBJECT",
    () => ({ claims: { sub: "spiffe://Example.org/web" } }),
  ],
  ["a sub that is a whole trust domain", "E_JWT_SVID_SUBJECT", () => ({ claims: { sub: "spiffe://example.org" } })],
  ["an unknown trust domain", "E_JWT_SVID_NO_BUNDLE", () => ({ claims: { sub: "spiffe://unknown.org/web" } })],
  [
    "a trust domain that has no key any more",
    "E_JWT_SVID_KEY_UNKNOWN",
    () => ({ claims: { sub: "spiffe://empty.org/web" } }),
  ],
  [
    "our domain's sub, signed by a partner under our kid",
    "E_JWT_SVID_SIGNATURE",
    () => ({ key: "partner", header: { kid: "p256" } }),
  ],
  [
    "a changed claim",
    "E_JWT_SVID_SIGNATURE",
    (now) => ({
      rewrite: (token) => {
        const [header = "", , signature = ""] = token.split(".");
        const claims = { sub: "spiffe://example.org/admin", aud: [AUDIENCE], exp: now + 300 };
        return `${header}.${encode64(JSON.stringify(claims))}.${signature}`;
      },
    }),
  ],
  ["a signature of zeros", "E_JWT_SVID_SIGNATURE", () => ({ signature: () => Buffer.alloc(64) })],
  [
    "a DER signature in place of r and s",
    "E_JWT_SVID_SIGNATURE",
    () => ({ signature: (signed) => sign("sha256", Buffer.from(signed), pairs.p256.privateKey) }),
  ],
  ["a signature that is cut", "E_JWT_SVID_SIGNATURE", () => ({ signature: () => Buffer.alloc(63, 1) })],
  [
    "PKCS #1 padding under PS256",
    "E_JWT_SVID_SIGNATURE",
    () => ({ key: "rsa", alg: "RS256", header: { alg: "PS256" } }),
  ],
  ["no exp", "E_JWT_SVID_CLAIM", () => ({ claims: { exp: undefined } })],
  ["an exp that is a text", "E_JWT_SVID_CLAIM", (now) => ({ claims: { exp: String(now + 300) } })],
  ["an exp beyond all time", "E_JWT_SVID_CLAIM", () => ({ claims: { exp: 1e300 } })],
  ["an exp that is this very second", "E_JWT_SVID_EXPIRED", (now) => ({ claims: { exp: now } })],
  ["an exp of long ago", "E_JWT_SVID_EXPIRED", () => ({ claims: { exp: 0 } })],
  ["an nbf more than 30 s ahead", "E_JWT_SVID_NOT_YET_VALID", (now) => ({ claims: { nbf: now + 40 } })],
  ["an iat more than 30 s ahead", "E_JWT_SVID_NOT_YET_VALID", (now) => ({ claims: { iat: now + 40 } })],
  ["an nbf that is a text", "E_JWT_SVID_CLAIM", () => ({ claims: { nbf: "now" } })],
  ["no aud", "E_JWT_SVID_CLAIM", () => ({ claims: { aud: undefined } })],
  ["an empty aud", "E_JWT_SVID_CLAIM", () => ({ claims: { aud: [] } })],
  ["an aud with something else than texts", "E_JWT_SVID_CLAIM", () => ({ claims: { aud: [AUDIENCE, 1] } })],
  ["another audience", "E_JWT_SVID_AUDIENCE", () => ({ claims: { aud: ["payments"] } })],
  ["an audience that begins like ours", "E_JWT_SVID_AUDIENCE", () => ({ claims: { aud: [`${AUDIENCE}2`] } })],
  ["an audience in other letters", "E_JWT_SVID_AUDIENCE", () => ({ claims: { aud: [AUDIENCE.toUpperCase()] } })],
];

/** What is unusual and yet good. */
export const unusualTokens: readonly (readonly [what: string, parts: (now: number) => TokenParts])[] = [
  ["ES384", () => ({ key: "p384" })],
  ["ES512", () => ({ key: "p521" })],
  ["RS256", () => ({ key: "rsa" })],
  ["RS384", () => ({ key: "rsa", alg: "RS384" })],
  ["RS512", () => ({ key: "rsa", alg: "RS512" })],
  ["PS256", () => ({ key: "rsa", alg: "PS256" })],
  ["PS512", () => ({ key: "rsa", alg: "PS512" })],
  ["no typ", () => ({ header: { typ: undefined } })],
  ["typ JOSE", () => ({ header: { typ: "JOSE" } })],
  ["one audience as text", () => ({ claims: { aud: AUDIENCE } })],
  ["our audience among others", () => ({ claims: { aud: ["a", AUDIENCE, "b"] } })],
  ["one second of life left", (now) => ({ claims: { exp: now + 1 } })],
  ["an iat a little ahead", (now) => ({ claims: { iat: now + 25 } })],
  ["no iat", () => ({ claims: { iat: undefined } })],
  ["an exp with a fraction", (now) => ({ claims: { exp: now + 300.5 } })],
  [
    "jku, jwk and x5u that nobody looks at",
    () => ({ header: { jku: "https://evil.example/", x5u: "https://evil.example/", jwk: {} } }),
  ],
  [
    "further claims of any kind",
    () => ({ claims: { groups: ["a"], nested: { deep: [1, null] }, iss: "https://issuer.example.org" } }),
  ],
];
