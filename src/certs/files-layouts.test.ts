// Files as the programs that write them lay them out, and the bundles that come from elsewhere.
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bundleDocument, startBundleEndpoint } from "../../test/support/bundle-endpoint.ts";
import { createTestCa, type TestCa, type TestIssued } from "../../test/support/cert-factory.ts";
import { eventually } from "../../test/support/eventually.ts";
import { type FakeClock, fakeClock } from "../../test/support/fake-clock.ts";
import type { IdentitySource } from "../core/identity.ts";
import { parseSpiffeId, parseTrustDomain } from "../core/spiffe-id.ts";
import { createFilesSource, type FilesSourceOptions } from "./files-source.ts";

const POLL_MS = 10_000;
const domain = parseTrustDomain("example.org");
const partnerDomain = parseTrustDomain("partner.org");
const startMs = Math.floor(Date.now() / 1000) * 1000;

let dir = "";
let clock: FakeClock = fakeClock(startMs);
let ca: TestCa = createTestCa("example.org", { nowMs: startMs });
const sources: IdentitySource[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-layouts-"));
  clock = fakeClock(startMs);
  ca = createTestCa("example.org", { nowMs: startMs });
});
afterEach(() => {
  for (const source of sources.splice(0)) source.close();
  rmSync(dir, { recursive: true, force: true });
});

function start(svid: string, key: string, bundle: string, rest: Partial<FilesSourceOptions> = {}): IdentitySource {
  const at = (name: string): string => join(dir, name);
  const bundles = new Map([[domain, at(bundle)]]);
  const source = createFilesSource({ svid: at(svid), key: at(key), bundles, ...rest }, clock, () => undefined);
  sources.push(source);
  return source;
}
const write = (name: string, text: string): void => writeFileSync(join(dir, name), text, { mode: 0o600 });
const serialIn = (issued: TestIssued): string => issued.certificate.serialNumber.toLowerCase().replace(/^0+/, "");
const servedSerial = ({ state }: IdentitySource): string | undefined =>
  state.kind === "serving" ? state.snapshot.svids[0].serial : undefined;
const problemOf = ({ state }: IdentitySource): string | undefined =>
  "problem" in state ? state.problem?.code : undefined;

test("spiffe-helper's files, written one after the other over the old ones", () => {
  const [first, second] = [ca.intermediate().issue(), ca.intermediate().issue()];
  write("svid.pem", first.chainPem);
  write("svid_key.pem", first.keyPem);
  write("svid_bundle.pem", ca.bundlePem);
  const source = start("svid.pem", "svid_key.pem", "svid_bundle.pem");
  expect(servedSerial(source)).toBe(serialIn(first));
  write("svid.pem", second.chainPem.slice(0, 300)); // as a reader sees it in the middle of a write
  clock.advance(POLL_MS);
  expect([source.state.kind, problemOf(source)]).toEqual(["stale", "E_PEM"]);
  write("svid.pem", second.chainPem);
  clock.advance(POLL_MS);
  expect([source.state.kind, problemOf(source)]).toEqual(["stale", "E_IDENTITY_KEY_MISMATCH"]);
  write("svid_key.pem", "");
  clock.advance(POLL_MS);
  expect([source.state.kind, problemOf(source)]).toEqual(["stale", "E_IDENTITY_KEY"]);
  write("svid_key.pem", second.keyPem);
  clock.advance(POLL_MS);
  expect(servedSerial(source)).toBe(serialIn(second));
});

test("the files of cert-manager's CSI driver, which a symlink swap renews at once", () => {
  const volume = (name: string, issued: TestIssued): void => {
    mkdirSync(join(dir, name));
    write(`${name}/tls.crt`, issued.chainPem);
    write(`${name}/tls.key`, issued.keyPem);
    write(`${name}/ca.crt`, ca.bundlePem);
    symlinkSync(name, join(dir, "..data_tmp"));
    renameSync(join(dir, "..data_tmp"), join(dir, "..data"));
  };
  const [first, second] = [ca.issue(), ca.issue({ keyType: "RSA-2048" })];
  volume("..2030_01_01", first);
  for (const name of ["tls.crt", "tls.key", "ca.crt"]) symlinkSync(`..data/${name}`, join(dir, name));
  const source = start("tls.crt", "tls.key", "ca.crt");
  expect(servedSerial(source)).toBe(serialIn(first));
  volume("..2030_01_02", second);
  rmSync(join(dir, "..2030_01_01"), { recursive: true });
  clock.advance(POLL_MS);
  expect(servedSerial(source)).toBe(serialIn(second));
});

test("one file may hold everything: the key beside the chain, other blocks between", () => {
  const issued = ca.intermediate().issue();
  write("all.pem", `# made by hand\n${issued.keyPem}\n${issued.chainPem}`);
  write("bundle.pem", ca.bundlePem);
  expect(servedSerial(start("all.pem", "all.pem", "bundle.pem"))).toBe(serialIn(issued));
});

test("a bundle document brings JWT authorities, PEM brings none", () => {
  const issued = ca.issue();
  write("svid.pem", issued.chainPem);
  write("svid.key", issued.keyPem);
  const jwk = (kid: string): object => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    return { ...publicKey.export({ format: "jwk" }), use: "jwt-svid", kid };
  };
  write("bundle.json", bundleDocument([ca], { jwtKeys: [jwk("a")] }));
  const source = start("svid.pem", "svid.key", "bundle.json");
  const jwtKeys = (): (string[] | undefined)[] =>
    source.state.kind === "serving"
      ? [
          source.state.snapshot.jwtBundles?.get(domain)?.keys.map(({ keyId }) => keyId),
          [String(source.state.snapshot.generation)],
        ]
      : [];
  expect(jwtKeys()).toEqual([["a"], ["1"]]);
  write("bundle.json", bundleDocument([ca], { jwtKeys: [jwk("b")] }));
  clock.advance(POLL_MS);
  expect(jwtKeys()).toEqual([["b"], ["2"]]);
  clock.advance(POLL_MS);
  expect(jwtKeys()).toEqual([["b"], ["2"]]);
  write("bundle.json", ca.bundlePem);
  clock.advance(POLL_MS);
  expect(jwtKeys()).toEqual([undefined, ["3"]]);
});

test("partners' bundles come from their endpoints, and go when the partner revokes itself", async () => {
  const partner = createTestCa("partner.org", { nowMs: startMs });
  const endpointId = parseSpiffeId("spiffe://partner.org/endpoint");
  const endpoint = await startBundleEndpoint(partner.issue({ spiffeId: endpointId }));
  try {
    endpoint.serve(bundleDocument([partner], { spiffe_sequence: 1, spiffe_refresh_hint: 30 }));
    const issued = ca.issue();
    write("svid.pem", issued.chainPem);
    write("svid.key", issued.keyPem);
    write("bundle.pem", ca.bundlePem);
    write("partner.pem", partner.bundlePem);
    const source = start("svid.pem", "svid.key", "bundle.pem", {
      federatesWith: [
        {
          trustDomain: partnerDomain,
          url: endpoint.url,
          profile: { kind: "https_spiffe", endpointId },
          bootstrap: join(dir, "partner.pem"),
        },
      ],
      stateFolder: join(dir, "state"),
    });
    const authorities = (): number | undefined =>
      source.state.kind === "serving"
        ? source.state.snapshot.bundles.get(partnerDomain)?.authorities.length
        : undefined;
    expect(authorities()).toBe(1);
    clock.advance(0);
    await eventually(() => expect(source.federation).toMatchObject([{ sequence: 1n, problem: undefined }]));
    endpoint.serve(JSON.stringify({ keys: [], spiffe_sequence: 2 }));
    clock.advance(30_000);
    await eventually(() => expect(authorities()).toBe(0));
    expect(servedSerial(source)).toBe(serialIn(issued));
  } finally {
    await endpoint.close();
  }
});
