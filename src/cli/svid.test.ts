import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type CertOptions, createTestCa } from "../../test/support/cert-factory.ts";
import { type Ran, runCommand } from "../../test/support/run-command.ts";
import { run } from "./svid.ts";
import type { ShownSvid } from "./svid-view.ts";

const HOUR = 3_600_000;
const ca = createTestCa("example.org");
const id = "spiffe://example.org/ns/shop/sa/web";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-svid-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

function svid(...argv: string[]): Promise<Ran> {
  return runCommand(run, argv, dir);
}
function write(name: string, content: string | Uint8Array): string {
  writeFileSync(join(dir, name), content);
  return name;
}
const leafFile = (options: CertOptions): string => write("svid.pem", ca.issue({ spiffeId: id, ...options }).chainPem);

test("shows a sound SVID with its chain, and exits 0", async () => {
  const issued = ca.intermediate({ keyType: "Ed25519" }).issue({ spiffeId: id, serial: 0xabcn });
  const { code, out } = await svid(
    "show",
    write("svid.pem", issued.chainPem),
    "--bundle",
    write("bundle.pem", ca.bundlePem),
  );
  expect(code).toBe(0);
  expect(out).toMatch(/^X\.509-SVID +yes$/m);
  expect(out).toMatch(/^SPIFFE ID +spiffe:\/\/example\.org\/ns\/shop\/sa\/web$/m);
  expect(out).toMatch(/^trust +proven$/m);
  expect(out).toMatch(/^ {2}serial +abc$/m);
  expect(out).toMatch(/^ {2}key +EC P-256, signed with Ed25519$/m);
  expect(out).toMatch(/^above it, 1 +C=US, CN=example\.org intermediate$/m);
  expect(out).not.toContain("E_");
});

test("says that trust was not checked without a bundle", async () => {
  const { code, out } = await svid("show", leafFile({}));
  expect([code, /^trust +not checked/m.test(out)]).toEqual([0, true]);
});

test("lists every broken rule with its code and fix, and exits 1", async () => {
  const file = leafFile({
    extraUriSans: ["https://example.org"],
    keyUsage: ["keyCertSign"],
    eku: ["serverAuth"],
    isCa: true,
    keyType: "P-224",
    notAfter: Date.now() - HOUR,
    notBefore: Date.now() - 2 * HOUR,
  });
  const { code, out } = await svid("show", file, "--json");
  const shown = JSON.parse(out) as ShownSvid;
  expect(code).toBe(1);
  expect(shown).toMatchObject({ isSvid: false, spiffeId: id, trust: "not checked" });
  expect(shown.problems.map((problem) => problem.code)).toEqual([
    "E_SVID_URI_SEVERAL",
    "E_SVID_LEAF_IS_CA",
    "E_SVID_KEY_USAGE_NO_SIGNATURE",
    "E_SVID_KEY_USAGE_SIGNS",
    "E_SVID_EXTENDED_KEY_USAGE",
    "E_CERT_KEY_CURVE",
    "E_CERT_EXPIRED",
  ]);
  for (const { message, fix } of shown.problems) expect(message.length * fix.length).toBeGreaterThan(0);
  const human = await svid("show", file);
  for (const problem of shown.problems) expect(human.out).toContain(`${problem.code} ${problem.message}`);
});

test("refuses a chain that does not end in the given bundle", async () => {
  const stranger = createTestCa("example.org", { commonName: "stranger" });
  const { code, out } = await svid("show", leafFile({}), "--bundle", write("bundle.pem", stranger.bundlePem), "--json");
  expect([code, JSON.parse(out)]).toMatchObject([1, { trust: "refused", problems: [{ code: "E_CHAIN_UNTRUSTED" }] }]);
});

test("takes a DER certificate and a SPIFFE bundle document", async () => {
  const keys = [{ kty: "EC", use: "x509-svid", x5c: [ca.der.toString("base64")] }];
  const bundle = write("bundle.json", JSON.stringify({ keys }));
  expect((await svid("show", write("svid.der", ca.issue({ spiffeId: id }).der), "--bundle", bundle)).code).toBe(0);
});

test("shows what is no SPIFFE ID without letting it write to the terminal", async () => {
  const { code, out } = await svid("show", leafFile({ spiffeId: "spiffe://a\x1b[2J/\x9b" }));
  expect(code).toBe(1);
  expect(out).toContain("\\u001b[2J/\\u009b");
  expect(out.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
  expect(out).toContain("E_SVID_SPIFFE_ID");
});

test("says of bytes that are no certificate that they are none", async () => {
  const pem = `-----BEGIN CERTIFICATE-----\n${Buffer.from("nonsense").toString("base64")}\n-----END CERTIFICATE-----\n`;
  const { code, out } = await svid("show", write("svid.pem", pem), "--json");
  expect([code, JSON.parse(out)]).toMatchObject([1, { problems: [{ code: "E_CERT_DER" }] }]);
});

test("says of a certificate with bytes left over that it is not strict DER, and still shows it", async () => {
  const { code, out } = await svid("show", write("svid.der", ca.issue({ trailing: Buffer.from([0]) }).der), "--json");
  expect([code, JSON.parse(out)]).toMatchObject([
    1,
    { problems: [{ code: "E_CERT_DER" }], certificates: [{ subject: "C=US, CN=workload" }] },
  ]);
});

test.each([
  ["no subcommand", []],
  ["an unknown subcommand", ["peel"]],
  ["no file", ["show"]],
  ["an unknown option", ["show", "x", "--nope"]],
])("%s is wrong usage: 2", async (_what, argv) => {
  expect((await svid(...argv)).code).toBe(2);
});

test("a file that cannot be read, or is no PEM, is told with its fix: 2", async () => {
  const missing = await svid("show", "missing.pem");
  expect([missing.code, missing.out]).toEqual([2, ""]);
  expect(missing.err).toMatch(/^E_IDENTITY_FILE .*missing\.pem cannot be read: ENOENT; fix: /);
  expect((await svid("show", write("x.pem", "text"))).err).toMatch(/^E_PEM /);
});

test("--help explains itself: 0", async () => {
  const { code, out } = await svid("show", "--help");
  expect([code, out.includes("--bundle <file>")]).toEqual([0, true]);
});
