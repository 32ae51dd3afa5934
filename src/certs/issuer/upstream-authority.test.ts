import { X509Certificate } from "node:crypto";
import { chmodSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type CertOptions, createTestCa, type TestCa } from "../../../test/support/cert-factory.ts";
import { parseSpiffeId, parseTrustDomain } from "../../core/spiffe-id.ts";
import { splitSequences } from "../der.ts";
import { makeTrustBundle } from "../trust-bundle.ts";
import { verifyPeerChain } from "../verify-peer.ts";
import { createProvenIntermediate, isUnder, readUpstreamAuthority, type UpstreamFiles } from "./upstream-authority.ts";
import { issueX509Svid } from "./x509-authority.ts";

const HOUR = 3_600_000;
const trustDomain = parseTrustDomain("example.org");
const id = parseSpiffeId("spiffe://example.org/ns/shop/sa/orders");
const nowMs = Date.now();
let folder: string;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-")));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string, mode = 0o600): string {
  const file = join(folder, name);
  writeFileSync(file, content, { mode });
  return file;
}
const filesOf = (ca: TestCa, root?: TestCa): UpstreamFiles => ({
  certificate: write("ca.pem", root === undefined ? ca.certPem : ca.chainPem),
  key: write("ca.key", ca.keyPem),
  bundle: root && write("root.pem", root.bundlePem),
});

describe("a CA above the issuer's", () => {
  const root = (options: CertOptions = {}): TestCa => createTestCa("example.org", options);
  it.each<[string, () => { readonly files: UpstreamFiles; readonly chainLength: number }]>([
    ["a root", () => ({ files: filesOf(root()), chainLength: 2 })],
    ["a root with an RSA key", () => ({ files: filesOf(root({ keyType: "RSA-2048" })), chainLength: 2 })],
    ["a root with a P-384 key", () => ({ files: filesOf(root({ keyType: "P-384" })), chainLength: 2 })],
    ["a root with an Ed25519 key", () => ({ files: filesOf(root({ keyType: "Ed25519" })), chainLength: 2 })],
    [
      "an intermediate, with the root as bundle",
      () => {
        const top = root();
        return { files: filesOf(top.intermediate(), top), chainLength: 3 };
      },
    ],
    [
      "an intermediate, with the root at its chain's end",
      () => {
        const top = root();
        const middle = top.intermediate();
        const certificate = write("chain.pem", middle.chainPem + top.bundlePem);
        return { files: { ...filesOf(middle), certificate, bundle: undefined }, chainLength: 3 };
      },
    ],
  ])("can be %s: SVIDs verify by the roots alone", async (_name, make) => {
    const { files, chainLength } = make();
    const upstream = readUpstreamAuthority(files);
    const authority = await createProvenIntermediate(trustDomain, upstream, 24 * HOUR, nowMs);
    expect(isUnder(authority, upstream)).toBe(true);
    expect(isUnder(authority, undefined)).toBe(false);
    const { chainDer } = await issueX509Svid(authority, id, HOUR / 2, nowMs);
    const chain = splitSequences(chainDer, "certificate").map((der) => new X509Certificate(der));
    expect(chain).toHaveLength(chainLength);
    const anchors = upstream.roots.map(({ raw }) => raw);
    const verdict = verifyPeerChain(chain, new Map([[trustDomain, makeTrustBundle(trustDomain, anchors)]]), nowMs);
    expect(verdict).toMatchObject({ kind: "verified", peer: { spiffeId: id } });
  });

  it("makes an issuer's CA that ends with it", async () => {
    const upstream = readUpstreamAuthority(filesOf(root({ notAfter: nowMs + HOUR })));
    const authority = await createProvenIntermediate(trustDomain, upstream, 24 * HOUR, nowMs);
    expect(authority.notAfterMs).toBe(Math.floor((nowMs + HOUR) / 1000) * 1000);
  });

  it("is another one when key, chain or roots differ", async () => {
    const first = readUpstreamAuthority(filesOf(root()));
    const authority = await createProvenIntermediate(trustDomain, first, 24 * HOUR, nowMs);
    expect(isUnder(authority, readUpstreamAuthority(filesOf(root())))).toBe(false);
    expect(isUnder(authority, { ...first, roots: [...first.roots, root().certificate] })).toBe(false);
  });

  it.each<[string, () => UpstreamFiles, RegExp]>([
    [
      "no file",
      () => ({ certificate: join(folder, "none"), key: join(folder, "none"), bundle: undefined }),
      /cannot be read: ENOENT/,
    ],
    ["a leaf", () => filesOf({ ...root(), ...root().issue({ spiffeId: id }) }), /does not begin with a CA certificate/],
    ["another CA's key", () => ({ ...filesOf(root()), key: write("other.key", root().keyPem) }), /is not the key of/],
    [
      "a key that others may read",
      () => {
        const files = filesOf(root());
        chmodSync(files.key, 0o640);
        return files;
      },
      /has mode 0640/,
    ],
    ["no key", () => ({ ...filesOf(root()), key: join(folder, "none") }), /does not exist/],
    ["something else as key", () => ({ ...filesOf(root()), key: write("x.key", "secret") }), /holds no private key/],
    [
      "a key on a curve that nobody accepts",
      () => filesOf(root({ keyType: "secp256k1" })),
      /of a kind whose signatures/,
    ],
    ["no root", () => filesOf(root().intermediate()), /does not end in a root/],
    [
      "no certificate",
      () => ({ ...filesOf(root()), certificate: write("x.pem", "nothing") }),
      /has no CERTIFICATE block/,
    ],
  ])("is refused with %s", (_name, make, expected) => {
    const files = make();
    expect(() => readUpstreamAuthority(files)).toThrow(
      expect.objectContaining({
        code: "E_ISSUER_UPSTREAM",
        message: expect.stringMatching(expected) as string,
      }) as Error,
    );
  });

  it.each<[string, CertOptions, RegExp]>([
    ["allows no CA below it", { pathLen: 0 }, /E_CHAIN_PATH_LENGTH/],
    [
      "has name constraints for another trust domain",
      { nameConstraints: { permittedUris: ["other.org"] } },
      /E_CHAIN_NAME/,
    ],
    ["has expired", { notBefore: nowMs - 2 * HOUR, notAfter: nowMs - HOUR }, /E_CERT_/],
  ])("is refused when it %s", async (_name, options, expected) => {
    const upstream = readUpstreamAuthority(filesOf(root(options)));
    await expect(createProvenIntermediate(trustDomain, upstream, 24 * HOUR, nowMs)).rejects.toThrow(
      expect.objectContaining({
        code: "E_ISSUER_UPSTREAM",
        message: expect.stringMatching(expected) as string,
      }) as Error,
    );
  });
});
