import { expect, test } from "vitest";
import { AUDIENCE, jwtBundles, jwtSvid } from "../../../test/support/jwt-svids.ts";
import { parseTrustDomain } from "../../core/spiffe-id.ts";
import { createJwtSvidVerifier } from "./jwt-svid-verifier.ts";

const nowMs = Date.UTC(2030, 0, 1);
const token = jwtSvid(nowMs);
const domain = parseTrustDomain("example.org");

test("a proof is remembered until its token expires", () => {
  const verify = createJwtSvidVerifier();
  const first = verify(token, [AUDIENCE], jwtBundles, nowMs);
  expect(first.kind).toBe("verified");
  expect(verify(token, [AUDIENCE], jwtBundles, nowMs + 299_999)).toBe(first);
  expect(verify(token, [AUDIENCE], jwtBundles, nowMs + 300_000)).toMatchObject({ code: "E_JWT_SVID_EXPIRED" });
});

test("for other audiences, another signature, or under another bundle it is judged anew", () => {
  const verify = createJwtSvidVerifier();
  expect(verify(token, [AUDIENCE], jwtBundles, nowMs).kind).toBe("verified");
  expect(verify(token, ["other"], jwtBundles, nowMs)).toMatchObject({ code: "E_JWT_SVID_AUDIENCE" });
  expect(verify(token, [AUDIENCE, "other"], jwtBundles, nowMs).kind).toBe("verified");
  expect(verify(jwtSvid(nowMs, { signature: () => Buffer.alloc(64) }), [AUDIENCE], jwtBundles, nowMs).kind).toBe(
    "refused",
  );
  expect(verify(token, [AUDIENCE], new Map(), nowMs)).toMatchObject({ code: "E_JWT_SVID_NO_BUNDLE" });
  const emptied = new Map([[domain, { trustDomain: domain, keys: [], version: "another" }]]);
  expect(verify(token, [AUDIENCE], emptied, nowMs)).toMatchObject({ code: "E_JWT_SVID_KEY_UNKNOWN" });
});

test("a refusal is not remembered", () => {
  const verify = createJwtSvidVerifier();
  const early = jwtSvid(nowMs, { claims: { nbf: nowMs / 1000 + 60 } });
  expect(verify(early, [AUDIENCE], jwtBundles, nowMs).kind).toBe("refused");
  expect(verify(early, [AUDIENCE], jwtBundles, nowMs + 60_000).kind).toBe("verified");
});

test("beyond its limit the token that was unused for longest makes room", () => {
  const verify = createJwtSvidVerifier(2);
  const [a, b, c] = ["a", "b", "c"].map((jti) => jwtSvid(nowMs, { claims: { jti } })) as [string, string, string];
  const ask = (one: string): unknown => verify(one, [AUDIENCE], jwtBundles, nowMs);
  const [firstA, firstB] = [ask(a), ask(b)];
  expect(ask(a)).toBe(firstA);
  ask(c);
  expect(ask(a)).toBe(firstA);
  expect(ask(b)).not.toBe(firstB);
});
