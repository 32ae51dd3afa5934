import { createHmac, createPublicKey, sign as ecdsa, type KeyObject } from "node:crypto";
import { SignJWT } from "jose/jwt/sign";
import { beforeAll, describe, expect, it } from "vitest";
import { CountersignError } from "../../core/errors.ts";
import { parseSpiffeId, parseTrustDomain } from "../../core/spiffe-id.ts";
import { createJwtAuthority, issueJwtSvid, type JwtAuthority, publicJwk } from "./jwt-authority.ts";
import type { AuthoritySet } from "./trust-bundle.ts";
import { validateJwtSvid } from "./validate-jwt-svid.ts";

const nowMs = Date.UTC(2030, 0, 1);
const now = nowMs / 1000;
const id = parseSpiffeId("spiffe://example.org/orders");
let authority: JwtAuthority;
let stranger: JwtAuthority;
let bundle: AuthoritySet;
beforeAll(async () => {
  authority = await createJwtAuthority(3_600_000, nowMs);
  stranger = await createJwtAuthority(3_600_000, nowMs);
  bundle = { trustDomain: parseTrustDomain("example.org"), sequence: 1, x509: [], jwt: [authority] };
});

async function verdict(token: string, audience = "payments", atMs = nowMs): Promise<string> {
  try {
    return (await validateJwtSvid(token, audience, bundle, atMs)).spiffeId;
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    expect(error.code).toBe("E_JWT_SVID");
    return error.message;
  }
}

interface Parts {
  readonly header?: Record<string, unknown>;
  readonly claims?: Record<string, unknown>;
  readonly key?: KeyObject;
}
function sign({ header = {}, claims = {}, key = authority.key }: Parts): Promise<string> {
  return new SignJWT({ sub: id, aud: ["payments"], iat: now, exp: now + 300, ...claims })
    .setProtectedHeader({ alg: "ES256", kid: authority.keyId, typ: "JWT", ...header })
    .sign(key);
}
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const claims = { sub: id, aud: ["payments"], exp: now + 300 };

describe("a JWT-SVID of the issuer", () => {
  it("is valid for each of its audiences until it expires", async () => {
    const { token, notAfterMs } = await issueJwtSvid(authority, id, ["payments", "stock"], 300_000, nowMs);
    expect(notAfterMs).toBe(nowMs + 300_000);
    expect(await verdict(token)).toBe(id);
    expect(await verdict(token, "stock")).toBe(id);
    expect(await verdict(token, "payments", nowMs + 299_000)).toBe(id);
    expect(await verdict(token, "payments", nowMs + 300_000)).toBe("the token has expired");
    expect(await validateJwtSvid(token, "stock", bundle, nowMs)).toEqual({
      spiffeId: id,
      claims: { sub: id, aud: ["payments", "stock"], iat: now, exp: now + 300 },
    });
  });

  it("never outlives its key", async () => {
    const { notAfterMs } = await issueJwtSvid(authority, id, ["a"], 7_200_000, nowMs);
    expect(notAfterMs).toBe(authority.notAfterMs);
  });
});

describe("validating a JWT-SVID", () => {
  it.each<[string, Parts]>([
    ["typ absent", { header: { typ: undefined } }],
    ["typ JOSE", { header: { typ: "JOSE" } }],
    ["one audience as text", { claims: { aud: "payments" } }],
    [
      "a key of the token's own, which is never looked at",
      { header: { jku: "https://evil.example/", x5u: "https://evil.example/" } },
    ],
  ])("accepts %s", async (_name, parts) => {
    expect(await verdict(await sign(parts))).toBe(id);
  });

  it.each<[string, Parts, string]>([
    ["another typ", { header: { typ: "at+jwt" } }, "typ is neither JWT nor JOSE"],
    ["no kid", { header: { kid: undefined } }, "the header has no kid"],
    ["an unknown kid", { header: { kid: "x" } }, "kid names no key of the bundle"],
    ["no sub", { claims: { sub: undefined } }, "there is no sub"],
    ["a sub that is no SPIFFE ID", { claims: { sub: "orders" } }, "sub is not a SPIFFE ID"],
    [
      "a sub of another trust domain",
      { claims: { sub: "spiffe://other.org/a" } },
      "no bundle for the trust domain of sub",
    ],
    ["no aud", { claims: { aud: undefined } }, "the claim aud does not hold"],
    ["an empty aud", { claims: { aud: [] } }, "the claim aud does not hold"],
    ["another aud", { claims: { aud: ["stock"] } }, "the claim aud does not hold"],
    ["no exp", { claims: { exp: undefined } }, "the claim exp does not hold"],
    ["an exp that is a text", { claims: { exp: String(now + 300) } }, "the claim exp does not hold"],
    ["an exp in the past", { claims: { exp: now - 1 } }, "the token has expired"],
    ["an nbf in the future", { claims: { nbf: now + 60 } }, "the claim nbf does not hold"],
  ])("refuses %s", async (_name, parts, expected) => {
    expect(await verdict(await sign(parts))).toContain(expected);
  });

  it("refuses another key's signature, also under our kid and with that key in the header", async () => {
    expect(await verdict(await sign({ key: stranger.key }))).toContain("the token is refused");
    const jwk = publicJwk(stranger.key);
    expect(await verdict(await sign({ key: stranger.key, header: { jwk } }))).toContain("the token is refused");
  });

  it("refuses a critical header that nobody here understands", async () => {
    const header = { alg: "ES256", kid: authority.keyId, crit: ["http://example.com/x"], "http://example.com/x": 1 };
    const input = `${encode(header)}.${encode(claims)}`;
    const signature = ecdsa("sha256", Buffer.from(input), { key: authority.key, dsaEncoding: "ieee-p1363" });
    expect(await verdict(`${input}.${signature.toString("base64url")}`)).toContain("the token is refused");
  });

  it("refuses a token without signature", async () => {
    const none = `${encode({ alg: "none", kid: authority.keyId })}.${encode(claims)}.`;
    expect(await verdict(none)).toBe("alg is not an allowed signature algorithm");
  });

  it("refuses an HMAC made with our public key", async () => {
    const input = `${encode({ alg: "HS256", kid: authority.keyId, typ: "JWT" })}.${encode(claims)}`;
    const secret = createPublicKey(authority.key).export({ format: "pem", type: "spki" });
    const mac = createHmac("sha256", secret).update(input).digest("base64url");
    expect(await verdict(`${input}.${mac}`)).toBe("alg is not an allowed signature algorithm");
  });

  it("refuses an allowed algorithm that is not the key's", async () => {
    const [, payload = "", signature = ""] = (await sign({})).split(".");
    const header = encode({ alg: "RS256", kid: authority.keyId });
    expect(await verdict(`${header}.${payload}.${signature}`)).toMatch(/refused|cannot be verified/);
  });

  it("refuses changed claims", async () => {
    const [header = "", , signature = ""] = (await sign({})).split(".");
    expect(await verdict(`${header}.${encode({ ...claims, exp: now + 9999 })}.${signature}`)).toContain("is refused");
  });

  it.each(["", ".", "..", "a.b.c", "e30.e30.", `${"a".repeat(20_000)}`, "e30.W10.e30", '{"payload":""}'])(
    "refuses garbage: %#",
    async (token) => {
      expect(await verdict(token)).not.toBe(id);
    },
  );

  it("refuses to validate for no audience", async () => {
    expect(await verdict(await sign({ claims: { aud: [""] } }), "")).toBe("no audience to validate for");
  });

  it("says nothing of the token in its message", async () => {
    const token = await sign({ claims: { sub: "s3cr3t", aud: "s3cr3t" } });
    expect(await verdict(token)).not.toContain("s3cr3t");
  });
});
