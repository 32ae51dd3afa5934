import { createPrivateKey, X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { parseSpiffeId, parseTrustDomain } from "../../core/spiffe-id.ts";
import { verifyOwnSvid } from "../own-svid.ts";
import { makeTrustBundle } from "../trust-bundle.ts";
import { createX509Authority, issueX509Svid } from "./x509-authority.ts";

const nowMs = Date.UTC(2030, 0, 1);
const trustDomain = parseTrustDomain("example.org");
const id = parseSpiffeId("spiffe://example.org/ns/shop/sa/orders");
const HOUR = 3_600_000;

describe("an issued X.509-SVID", () => {
  it("passes every rule for peers under its CA's bundle", async () => {
    const authority = await createX509Authority(trustDomain, 24 * HOUR, nowMs);
    const issued = await issueX509Svid(authority, id, HOUR, nowMs);
    const bundles = new Map([[trustDomain, makeTrustBundle(trustDomain, [authority.certificate.raw])]]);
    const key = createPrivateKey({ key: Buffer.from(issued.keyDer), format: "der", type: "pkcs8" });
    const svid = verifyOwnSvid({ chainDer: [issued.chainDer], key, hint: "" }, bundles, nowMs);
    expect(svid.spiffeId).toBe(id);
    expect(svid.serial).toBe(issued.serial);
    expect(svid.notBeforeMs).toBe(nowMs - 30_000);
    expect(svid.notAfterMs).toBe(nowMs + HOUR);
    expect(issued.notAfterMs).toBe(nowMs + HOUR);
    expect(svid.chain[0]?.subjectAltName).toBe(`URI:${id}`);
    expect(svid.chain[0]?.keyUsage?.toSorted()).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    expect(key.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
  });

  it("has a key and a positive 16-byte serial of its own each time", async () => {
    const authority = await createX509Authority(trustDomain, 24 * HOUR, nowMs);
    const issued = await Promise.all([1, 2, 3, 4].map(() => issueX509Svid(authority, id, HOUR, nowMs)));
    expect(new Set(issued.map(({ serial }) => serial)).size).toBe(4);
    expect(new Set(issued.map(({ keyDer }) => Buffer.from(keyDer).toString("hex"))).size).toBe(4);
    for (const { serial } of issued) expect(serial).toMatch(/^[4-7][0-9a-f]{31}$/);
  });

  it("never outlives its CA", async () => {
    const authority = await createX509Authority(trustDomain, HOUR, nowMs);
    const issued = await issueX509Svid(authority, id, 2 * HOUR, nowMs + HOUR / 2);
    expect(issued.notAfterMs).toBe(nowMs + HOUR);
  });
});

describe("a CA of the issuer", () => {
  it("names the trust domain and may sign certificates and CRLs, nothing below it", async () => {
    const { certificate, key, notAfterMs } = await createX509Authority(trustDomain, HOUR, nowMs);
    expect(certificate.ca).toBe(true);
    expect(certificate.subjectAltName).toBe("URI:spiffe://example.org");
    expect(certificate.checkPrivateKey(key)).toBe(true);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(notAfterMs).toBe(nowMs + HOUR);
    // Basic constraints critical: CA true, path length 0. Key usage critical: bits 5 and 6 (RFC 5280 section 4.2.1).
    const der = certificate.raw.toString("hex");
    expect(der).toContain("0603551d130101ff040830060101ff020100");
    expect(der).toContain("0603551d0f0101ff040403020106");
  });

  it("differs from the next one in name, so that paths are never mixed up", async () => {
    const [a, b] = await Promise.all([1, 2].map(() => createX509Authority(trustDomain, HOUR, nowMs)));
    expect(a?.certificate.subject).not.toBe(b?.certificate.subject);
    const issued = await issueX509Svid(a ?? expect.fail(), id, HOUR, nowMs);
    const leaf = new X509Certificate(issued.chainDer);
    expect(leaf.checkIssued(a?.certificate ?? expect.fail())).toBe(true);
    expect(leaf.checkIssued(b?.certificate ?? expect.fail())).toBe(false);
  });
});
