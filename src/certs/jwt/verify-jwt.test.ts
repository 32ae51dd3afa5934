import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  AUDIENCE,
  ISSUER,
  jwkSet,
  rawToken,
  signature,
  soundClaims,
  token,
  tokenKey,
} from "../../../test/support/token-issuer.ts";
import { CountersignError } from "../../core/errors.ts";
import { parseJwkSet } from "./jwk-set.ts";
import { MAX_TOKEN_CHARS, readUnverifiedJwt } from "./read-jwt.ts";
import { type JwtRequirements, keysFor, verifyJwt } from "./verify-jwt.ts";

const NOW = Date.UTC(2026, 5, 1);
const NOW_S = NOW / 1000;
const rsa = tokenKey("RS256", "rsa");
const ec = tokenKey("ES256", "ec");
const ed = tokenKey("EdDSA", "ed");
const nameless = tokenKey("RS256");
const stranger = tokenKey("RS256", "rsa");
const SET = parseJwkSet(jwkSet(rsa, ec, ed, nameless));

const STRICT: JwtRequirements = {
  issuer: ISSUER,
  audiences: [AUDIENCE, "second"],
  needsAudience: true,
  needsExpiry: true,
  clockSkewMs: 30_000,
};
const ISTIO: JwtRequirements = {
  ...STRICT,
  audiences: [],
  needsAudience: false,
  needsExpiry: false,
  clockSkewMs: 60_000,
};

/** `ok`, or the code of the refusal. */
async function verdict(text: string, requirements: JwtRequirements = STRICT): Promise<string> {
  try {
    const jwt = readUnverifiedJwt(text);
    await verifyJwt(jwt, keysFor(SET, jwt), requirements, NOW);
    return "ok";
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    for (const piece of text.split(".")) if (piece.length > 8) expect(error.message).not.toContain(piece);
    return error.code;
  }
}

const made = (claims: object = {}, header: object = {}, key = rsa): string => token(key, claims, header, NOW);
const hs256 = (secret: string | Buffer): string =>
  rawToken({ alg: "HS256", kid: "rsa" }, soundClaims(NOW), (input) =>
    createHmac("sha256", secret).update(input).digest(),
  );

describe("a sound token", () => {
  it.each([
    ["RS256", made()],
    ["ES256", made({}, {}, ec)],
    ["EdDSA", made({}, {}, ed)],
    ["PS256 by an RSA key whose alg the set leaves open", token({ ...rsa, algorithm: "PS256" }, {}, {}, NOW)],
    ["without kid: every key that fits is tried", made({}, { kid: undefined }, nameless)],
    ["of a key that the set does not name, whatever kid the token has", made({}, { kid: "other" }, nameless)],
    ["with the second audience in a list", made({ aud: ["x", "second"] })],
    ["expired within the skew", made({ exp: NOW_S - 29 })],
    ["valid soon, within the skew", made({ nbf: NOW_S + 29 })],
  ])("%s", async (_, text) => {
    expect(await verdict(text)).toBe("ok");
  });
});

describe("a bad token", () => {
  const [head = "", payload = "", sig = ""] = made().split(".");
  it.each([
    ["E_JWT_EXPIRED", "expired", made({ exp: NOW_S - 31 })],
    ["E_JWT_CLAIMS", "without exp", made({ exp: undefined })],
    ["E_JWT_CLAIMS", "with exp as text", made({ exp: String(NOW_S + 600) })],
    ["E_JWT_NOT_YET_VALID", "not yet valid", made({ nbf: NOW_S + 31 })],
    ["E_JWT_CLAIMS", "with nbf as text", made({ nbf: "soon" })],
    ["E_JWT_AUDIENCE", "for another audience", made({ aud: "payments" })],
    ["E_JWT_AUDIENCE", "for an audience that ours begins with", made({ aud: "order" })],
    ["E_JWT_AUDIENCE", "without audience", made({ aud: undefined })],
    ["E_JWT_ISSUER", "of another issuer", made({ iss: "https://evil.example" })],
    ["E_JWT_ISSUER", "of the issuer with a slash more", made({ iss: `${ISSUER}/` })],
    ["E_JWT_ISSUER", "without issuer", made({ iss: undefined })],
    ["E_JWT_CLAIMS", "with a list as issuer", made({ iss: [ISSUER] })],
    ["E_JWT_ALGORITHM", "alg none", rawToken({ alg: "none" }, soundClaims(NOW), () => Buffer.alloc(0))],
    ["E_JWT_ALGORITHM", "alg None", rawToken({ alg: "None" }, soundClaims(NOW), () => Buffer.alloc(0))],
    ["E_JWT_ALGORITHM", "alg missing", rawToken({ kid: "rsa" }, soundClaims(NOW), signature(rsa))],
    [
      "E_JWT_ALGORITHM",
      "HS256 with the public key's PEM",
      hs256(rsa.publicKey.export({ type: "spki", format: "pem" })),
    ],
    [
      "E_JWT_ALGORITHM",
      "HS256 with the public key's DER",
      hs256(rsa.publicKey.export({ type: "spki", format: "der" })),
    ],
    ["E_JWT_ALGORITHM", "HS256 with the published modulus", hs256(Buffer.from(String(rsa.jwk["n"]), "base64url"))],
    ["E_JWT_KEY_UNKNOWN", "ES256 in the name of the RSA key", made({}, { kid: "rsa" }, ec)],
    ["E_JWT_SIGNATURE", "signed by a stranger", made({}, {}, stranger)],
    ["E_JWT_SIGNATURE", "signed by a stranger who brings his key", made({}, { jwk: stranger.jwk }, stranger)],
    ["E_JWT_SIGNATURE", "signed by a stranger who names his set", made({}, { jku: "https://evil/jwks" }, stranger)],
    ["E_JWT_SIGNATURE", "with another signature's bytes", `${head}.${payload}.${made({ sub: "b" }).split(".")[2]}`],
    ["E_JWT_SIGNATURE", "with changed claims", `${head}.${made({ sub: "root" }).split(".")[1]}.${sig}`],
    ["E_JWT_SIGNATURE", "without signature", `${head}.${payload}.`],
    ["E_JWT_CRITICAL", "with crit", made({}, { crit: ["exp"] })],
    ["E_JWT_CRITICAL", "with an empty crit", made({}, { crit: [] })],
    ["E_JWT_CRITICAL", "with b64: false", made({}, { b64: false, crit: ["b64"] })],
    ["E_JWT_TOO_LONG", "of 64 KiB", made({ x: "y".repeat(65_536) })],
    ["E_JWT_MALFORMED", "of two parts", `${head}.${payload}`],
    ["E_JWT_MALFORMED", "of five parts (encrypted)", `${head}.${payload}.${sig}.${sig}.${sig}`],
    ["E_JWT_MALFORMED", "empty", ""],
    ["E_JWT_MALFORMED", "no base64url", `${head}.***.${sig}`],
    ["E_JWT_MALFORMED", "claims that are no object", rawToken({ alg: "RS256" }, "[1]", signature(rsa))],
    ["E_JWT_MALFORMED", "claims that are no JSON", rawToken({ alg: "RS256" }, "{", signature(rsa))],
    [
      "E_JWT_MALFORMED",
      "sub twice",
      rawToken({ alg: "RS256", kid: "rsa" }, `{"iss":"${ISSUER}","sub":"a","sub":"root"}`, signature(rsa)),
    ],
    [
      "E_JWT_MALFORMED",
      "kid twice",
      rawToken('{"alg":"RS256","kid":"rsa","kid":"ec"}', soundClaims(NOW), signature(rsa)),
    ],
    ["E_JWT_MALFORMED", "a number as kid", made({}, { kid: 7 })],
  ])("%s: %s", async (code, _, text) => {
    expect(await verdict(text)).toBe(code);
  });

  it("is refused where the rule names no audience in strict mode", async () => {
    expect(await verdict(made(), { ...STRICT, audiences: [] })).toBe("E_JWT_AUDIENCE");
  });
});

describe("in istio mode", () => {
  it.each([
    ["ok", "without exp", made({ exp: undefined })],
    ["ok", "any audience where the rule names none", made({ aud: "payments" })],
    ["ok", "expired within a minute", made({ exp: NOW_S - 59 })],
    ["E_JWT_EXPIRED", "expired", made({ exp: NOW_S - 61 })],
    ["E_JWT_ALGORITHM", "alg none", rawToken({ alg: "none" }, soundClaims(NOW), () => Buffer.alloc(0))],
    ["E_JWT_CRITICAL", "crit", made({}, { crit: ["x"], x: 1 })],
  ])("%s: %s", async (code, _, text) => {
    expect(await verdict(text, ISTIO)).toBe(code);
  });
});

it("takes tokens up to its limit apart", () => {
  const filler = "y".repeat(11_000);
  const text = made({ x: filler });
  expect(text.length).toBeLessThan(MAX_TOKEN_CHARS + 1);
  expect(readUnverifiedJwt(text)).toMatchObject({ issuer: ISSUER, kid: "rsa", algorithm: "RS256" });
});
