import { expect, test } from "vitest";
import { AUDIENCE, badTokens, jwtBundles, jwtSvid, TOKEN_ID, unusualTokens } from "../../../test/support/jwt-svids.ts";
import { verifyJwtSvid } from "./verify-jwt-svid.ts";

const nowMs = Date.UTC(2030, 0, 1);
const now = nowMs / 1000;
const verify = (token: string): ReturnType<typeof verifyJwtSvid> => verifyJwtSvid(token, [AUDIENCE], jwtBundles, nowMs);

test("a JWT-SVID says whose it is, until when, and by which bundle", () => {
  expect(verify(jwtSvid(nowMs))).toMatchObject({
    kind: "verified",
    spiffeId: TOKEN_ID,
    expiresMs: nowMs + 300_000,
    issuedAtMs: nowMs,
    claims: { aud: [AUDIENCE] },
  });
});

test.each(badTokens)("%s: %s", (_what, code, parts) => {
  const token = jwtSvid(nowMs, parts(now));
  const verdict = verify(token);
  expect(verdict).toMatchObject({ kind: "refused", code });
  if (verdict.kind !== "refused") return;
  expect(verdict.reason).toMatch(/^[\x20-\x7e]{8,300}$/);
  for (const part of token.split(".")) if (part.length > 8) expect(verdict.reason).not.toContain(part);
});

test.each(unusualTokens)("is accepted: %s", (_what, parts) => {
  expect(verify(jwtSvid(nowMs, parts(now)))).toMatchObject({ kind: "verified", spiffeId: TOKEN_ID });
});

test("both sides of the longest token", () => {
  const lengthOf = (filler: number): number => jwtSvid(nowMs, { claims: { filler: "x".repeat(filler) } }).length;
  let filler = 12_000;
  while (lengthOf(filler + 1) <= 16_384) filler++;
  expect(verify(jwtSvid(nowMs, { claims: { filler: "x".repeat(filler) } })).kind).toBe("verified");
  expect(verify(jwtSvid(nowMs, { claims: { filler: "x".repeat(filler + 4) } }))).toMatchObject({
    code: "E_JWT_SVID_TOO_LONG",
  });
});

test("a bundle of one domain never speaks for another", () => {
  const partner = jwtSvid(nowMs, { key: "partner", claims: { sub: "spiffe://partner.org/x" } });
  expect(verify(partner)).toMatchObject({ kind: "verified", spiffeId: "spiffe://partner.org/x" });
  expect(verify(jwtSvid(nowMs, { key: "partner", claims: { sub: "spiffe://example.org/x" } }))).toMatchObject({
    code: "E_JWT_SVID_KEY_UNKNOWN",
  });
});
