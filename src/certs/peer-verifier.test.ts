import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { createTestCa, type TestIssued } from "../../test/support/cert-factory.ts";
import type { TrustBundle } from "../core/identity.ts";
import { parseTrustDomain, type TrustDomain } from "../core/spiffe-id.ts";
import { createPeerVerifier } from "./peer-verifier.ts";
import { makeTrustBundle } from "./trust-bundle.ts";

const nowMs = Date.UTC(2030, 0, 1);
const HOUR = 3_600_000;
const domain = parseTrustDomain("example.org");
const root = createTestCa("example.org", { nowMs });
const fresh = (...crls: Uint8Array[]): ReadonlyMap<TrustDomain, TrustBundle> =>
  new Map([[domain, makeTrustBundle(domain, [root.der], crls)]]);
const chainOf = (issued: TestIssued): X509Certificate[] => issued.chainDer.map((der) => new X509Certificate(der));

test("a verified chain is remembered, also when it is presented on another connection", () => {
  const verify = createPeerVerifier();
  const issued = root.issue();
  const first = verify(chainOf(issued), fresh(), nowMs);
  expect(first.kind).toBe("verified");
  expect(verify(chainOf(issued), fresh(), nowMs + 1)).toBe(first);
});

test("a refusal is not remembered", () => {
  const verify = createPeerVerifier();
  const chain = chainOf(root.issue({ notBefore: nowMs + 1000 }));
  expect(verify(chain, fresh(), nowMs).kind).toBe("refused");
  expect(verify(chain, fresh(), nowMs + 1000).kind).toBe("verified");
});

test("the memory ends with the first certificate of the chain, and does not reach before its beginning", () => {
  const verify = createPeerVerifier();
  const chain = chainOf(root.intermediate({ notAfter: nowMs + HOUR / 2 }).issue());
  expect(verify(chain, fresh(), nowMs).kind).toBe("verified");
  expect(verify(chain, fresh(), nowMs + HOUR / 2 - 1).kind).toBe("verified");
  expect(verify(chain, fresh(), nowMs + HOUR / 2)).toMatchObject({ kind: "refused", code: "E_CERT_EXPIRED" });
  const early = chainOf(root.issue());
  expect(verify(early, fresh(), nowMs).kind).toBe("verified");
  expect(verify(early, fresh(), nowMs - HOUR)).toMatchObject({ kind: "refused", code: "E_CERT_NOT_YET_VALID" });
});

test("a new CRL, a bundle without the authority and a lost bundle each end it", () => {
  const verify = createPeerVerifier();
  const issued = root.issue();
  const chain = chainOf(issued);
  const isGood = (): boolean => verify(chain, fresh(), nowMs).kind === "verified";
  expect(isGood()).toBe(true);
  const crl = root.crl({ serials: [BigInt(`0x${issued.certificate.serialNumber}`)] });
  expect(verify(chain, fresh(crl), nowMs)).toMatchObject({ code: "E_PEER_REVOKED" });
  expect(isGood()).toBe(true);
  const others = new Map([[domain, makeTrustBundle(domain, [createTestCa("example.org", { nowMs }).der])]]);
  expect(verify(chain, others, nowMs)).toMatchObject({ code: "E_CHAIN_SIGNATURE" });
  expect(isGood()).toBe(true);
  expect(verify(chain, new Map(), nowMs)).toMatchObject({ code: "E_CHAIN_NO_BUNDLE" });
});

test("the whole chain is the key: the same leaf without its intermediate is judged anew", () => {
  const verify = createPeerVerifier();
  const chain = chainOf(root.intermediate().issue());
  expect(verify(chain, fresh(), nowMs).kind).toBe("verified");
  expect(verify(chain.slice(0, 1), fresh(), nowMs)).toMatchObject({ code: "E_CHAIN_UNTRUSTED" });
});

test("beyond its limit the chain that was unused for longest makes room", () => {
  const verify = createPeerVerifier(2);
  const [a, b, c] = [chainOf(root.issue()), chainOf(root.issue()), chainOf(root.issue())];
  const [firstA, firstB] = [verify(a, fresh(), nowMs), verify(b, fresh(), nowMs)];
  expect(verify(a, fresh(), nowMs)).toBe(firstA);
  verify(c, fresh(), nowMs);
  expect(verify(a, fresh(), nowMs)).toBe(firstA);
  expect(verify(b, fresh(), nowMs)).not.toBe(firstB);
});
