import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTestCa, type TestCa, type TestIssued, writeIdentityFiles } from "../../test/support/cert-factory.ts";
import { type FakeClock, fakeClock } from "../../test/support/fake-clock.ts";
import type { Clock } from "../core/clock.ts";
import type { IdentitySource, IdentityState } from "../core/identity.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { createFilesSource, type FilesSourceOptions } from "./files-source.ts";
import type { IdentityLogEntry } from "./identity-log.ts";

const POLL_MS = 10_000;
const HOUR = 3_600_000;

let dir = "";
let clock: FakeClock = fakeClock();
let ca: TestCa = createTestCa("example.org");
let logged: IdentityLogEntry[] = [];
const sources: IdentitySource[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-files-"));
  clock = fakeClock();
  ca = createTestCa("example.org", { nowMs: clock.nowMs() });
  logged = [];
});
afterEach(() => {
  for (const source of sources.splice(0)) source.close();
  rmSync(dir, { recursive: true, force: true });
});

const optionsFor = (
  folder: string,
  bundles: Readonly<Record<string, string>> = { "example.org": "bundle.pem" },
): FilesSourceOptions => ({
  svid: join(folder, "svid.pem"),
  key: join(folder, "svid.key"),
  bundles: new Map(Object.entries(bundles).map(([name, file]) => [parseTrustDomain(name), join(folder, file)])),
});
function start(options: FilesSourceOptions = optionsFor(dir), time: Clock = clock): IdentitySource {
  const source = createFilesSource(options, time, (entry) => logged.push(entry));
  sources.push(source);
  return source;
}
const serialOf = ({ state }: IdentitySource): string | undefined =>
  "snapshot" in state ? state.snapshot.svids[0].serial : undefined;
const serialIn = (issued: TestIssued): string => issued.certificate.serialNumber.toLowerCase().replace(/^0+/, "");
const problemOf = ({ state }: IdentitySource): { code: string; message: string } | undefined =>
  "problem" in state ? state.problem : undefined;

describe("a load", () => {
  test("serves the chain without its root, with the bundles of other domains", () => {
    const partner = createTestCa("partner.org", { nowMs: clock.nowMs() });
    const issued = ca.intermediate().issue({ spiffeId: "spiffe://example.org/web" });
    writeIdentityFiles(dir, { ...issued, chainPem: issued.chainPem + ca.certPem }, ca, [partner]);
    const { state } = start(optionsFor(dir, { "example.org": "bundle.pem", "partner.org": "partner.org.pem" }));
    expect(state.kind).toBe("serving");
    if (state.kind !== "serving") return;
    const [svid] = state.snapshot.svids;
    expect(svid).toMatchObject({ spiffeId: "spiffe://example.org/web", hint: "", chainPem: issued.chainPem });
    expect(svid.chain.map(({ raw }) => raw)).toEqual(issued.chainDer);
    expect([...state.snapshot.bundles.keys()]).toEqual(["example.org", "partner.org"]);
    expect(logged.map(({ event }) => event)).toEqual(["identity.loaded"]);
  });

  test("takes a SPIFFE bundle document and a SEC 1 key", () => {
    const issued = ca.issue();
    writeIdentityFiles(dir, issued, ca);
    writeFileSync(join(dir, "svid.key"), issued.key.export({ type: "sec1", format: "pem" }));
    const key = { kty: "EC", use: "x509-svid", x5c: [ca.der.toString("base64")] };
    writeFileSync(join(dir, "bundle.json"), JSON.stringify({ keys: [key] }));
    expect(start(optionsFor(dir, { "example.org": "bundle.json" })).state.kind).toBe("serving");
  });

  const bad: readonly (readonly [string, string, () => void])[] = [
    ["a missing SVID", "E_IDENTITY_FILE", () => rmSync(join(dir, "svid.pem"))],
    ["a missing key", "E_IDENTITY_FILE", () => rmSync(join(dir, "svid.key"))],
    ["a missing bundle", "E_IDENTITY_FILE", () => rmSync(join(dir, "bundle.pem"))],
    [
      "a folder in place of a file",
      "E_IDENTITY_FILE",
      () => {
        rmSync(join(dir, "svid.pem"));
        mkdirSync(join(dir, "svid.pem"));
      },
    ],
    [
      "a pipe in place of a file",
      "E_IDENTITY_FILE",
      () => {
        rmSync(join(dir, "svid.pem"));
        execFileSync("mkfifo", [join(dir, "svid.pem")]);
      },
    ],
    ["a file beyond 1 MiB", "E_IDENTITY_FILE", () => writeFileSync(join(dir, "svid.pem"), "x".repeat(1024 * 1024 + 1))],
    ["a half-written SVID", "E_PEM", () => writeFileSync(join(dir, "svid.pem"), ca.issue().chainPem.slice(0, 200))],
    ["a half-written key", "E_PEM", () => writeFileSync(join(dir, "svid.key"), ca.issue().keyPem.slice(0, 100))],
    [
      "the key of another certificate",
      "E_IDENTITY_KEY_MISMATCH",
      () => writeFileSync(join(dir, "svid.key"), ca.issue().keyPem),
    ],
    ["two keys", "E_IDENTITY_KEY", () => writeFileSync(join(dir, "svid.key"), ca.issue().keyPem.repeat(2))],
    ["no key in the key file", "E_IDENTITY_KEY", () => writeFileSync(join(dir, "svid.key"), ca.certPem)],
    [
      "an encrypted key",
      "E_IDENTITY_KEY",
      () => {
        const pem = ca.issue().key.export({ type: "pkcs8", format: "pem", cipher: "aes-128-cbc", passphrase: "x" });
        writeFileSync(join(dir, "svid.key"), pem);
      },
    ],
    [
      "bytes after the certificate's DER",
      "E_CERT_DER",
      () => {
        const { der } = ca.issue();
        const base64 = Buffer.concat([der, Buffer.from([0])]).toString("base64");
        writeFileSync(join(dir, "svid.pem"), `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`);
      },
    ],
    ["an expired SVID", "E_CERT_EXPIRED", () => writeIdentityFiles(dir, ca.issue({ notAfter: clock.nowMs() }), ca)],
    [
      "an SVID of another CA",
      "E_CHAIN_SIGNATURE",
      () => writeFileSync(join(dir, "bundle.pem"), createTestCa("example.org", { nowMs: clock.nowMs() }).bundlePem),
    ],
    [
      "an SVID of a domain without bundle",
      "E_CHAIN_NO_BUNDLE",
      () => writeIdentityFiles(dir, ca.issue({ spiffeId: "spiffe://elsewhere.org/web" }), ca),
    ],
    ["a bundle that is no PEM", "E_PEM", () => writeFileSync(join(dir, "bundle.pem"), "nothing")],
    ["a bundle that is no bundle document", "E_BUNDLE_FORMAT", () => writeFileSync(join(dir, "bundle.pem"), "{}")],
  ];
  test.each(bad)("with %s waits with %s, and after a rotation keeps the last good SVID", (_what, code, spoil) => {
    writeIdentityFiles(dir, ca.issue(), ca);
    const running = start();
    const before = serialOf(running);
    spoil();
    const fresh = start();
    expect(fresh.state.kind).toBe("waiting");
    expect(problemOf(fresh)?.code).toBe(code);
    clock.advance(POLL_MS);
    expect(running.state.kind).toBe("stale");
    expect(problemOf(running)?.code).toBe(code);
    expect(serialOf(running)).toBe(before);
  });

  test("never repeats key material in its problem", () => {
    const issued = ca.issue();
    writeIdentityFiles(dir, issued, ca);
    writeFileSync(
      join(dir, "svid.key"),
      issued.keyPem.replace("BEGIN PRIVATE", "BEGIN RSA PRIVATE").replace("END PRIVATE", "END RSA PRIVATE"),
    );
    const secret = issued.keyPem.split("\n")[1] ?? "";
    expect(secret.length).toBeGreaterThan(40);
    expect(JSON.stringify([problemOf(start()), logged])).not.toContain(secret.slice(0, 20));
  });

  test("warns once of a key that every local user can read", () => {
    writeIdentityFiles(dir, ca.issue(), ca);
    chmodSync(join(dir, "svid.key"), 0o644);
    start();
    clock.advance(3 * POLL_MS);
    expect(logged.filter(({ fields: { code } }) => code === "W_KEY_PERMISSIONS")).toHaveLength(1);
  });
});

describe("a running source", () => {
  test("rotates whole: a new generation once certificate and key fit again", () => {
    writeIdentityFiles(dir, ca.issue(), ca);
    const source = start();
    const states: IdentityState["kind"][] = [];
    source.subscribe(({ kind }) => states.push(kind));
    const next = ca.issue();
    writeFileSync(join(dir, "svid.pem"), next.chainPem);
    clock.advance(POLL_MS);
    writeFileSync(join(dir, "svid.key"), next.keyPem);
    clock.advance(POLL_MS);
    expect(states).toEqual(["stale", "serving"]);
    expect(serialOf(source)).toBe(serialIn(next));
    expect(source.state).toMatchObject({ snapshot: { generation: 2 } });
  });

  test("says nothing when nothing changed, and says a lasting problem once", () => {
    writeIdentityFiles(dir, ca.issue(), ca);
    const source = start();
    let changes = 0;
    source.subscribe(() => changes++);
    clock.advance(5 * POLL_MS);
    expect(changes).toBe(0);
    rmSync(join(dir, "svid.key"));
    clock.advance(5 * POLL_MS);
    expect(changes).toBe(1);
    expect(logged.filter(({ event }) => event === "identity.problem")).toHaveLength(1);
  });

  test("keeps the same SVID object when only a bundle changed", () => {
    const partner = createTestCa("partner.org", { nowMs: clock.nowMs() });
    const newPartner = createTestCa("partner.org", { nowMs: clock.nowMs() });
    writeIdentityFiles(dir, ca.issue(), ca, [partner]);
    const source = start(optionsFor(dir, { "example.org": "bundle.pem", "partner.org": "partner.org.pem" }));
    const before = source.state;
    writeFileSync(join(dir, "partner.org.pem"), newPartner.bundlePem);
    clock.advance(POLL_MS);
    const after = source.state;
    if (before.kind !== "serving" || after.kind !== "serving") throw new TypeError("not serving");
    const [own, other] = [parseTrustDomain("example.org"), parseTrustDomain("partner.org")];
    expect(after.snapshot.svids[0]).toBe(before.snapshot.svids[0]);
    expect(after.snapshot.bundles.get(own)).toBe(before.snapshot.bundles.get(own));
    expect(after.snapshot.bundles.get(other)?.version).not.toBe(before.snapshot.bundles.get(other)?.version);
    expect(logged.at(-1)?.event).toBe("identity.bundles");
  });

  test("expires exactly at notAfter, and serves again once a new SVID is there", () => {
    writeIdentityFiles(dir, ca.issue(), ca);
    const source = start();
    clock.advance(HOUR - 1);
    expect(source.state.kind).toBe("serving");
    clock.advance(1);
    expect(source.state.kind).toBe("expired");
    expect(problemOf(source)?.code).toBe("E_IDENTITY_EXPIRED");
    writeIdentityFiles(dir, ca.issue({ notAfter: clock.nowMs() + HOUR }), ca);
    clock.advance(POLL_MS);
    expect(source.state.kind).toBe("serving");
    clock.advance(HOUR);
    expect(source.state.kind).toBe("expired");
  });

  test("expires with an intermediate that ends before the leaf", () => {
    writeIdentityFiles(dir, ca.intermediate({ notAfter: clock.nowMs() + HOUR / 2 }).issue(), ca);
    const source = start();
    clock.advance(HOUR / 2 - 1);
    expect(source.state.kind).toBe("serving");
    clock.advance(1);
    expect(source.state.kind).toBe("expired");
  });

  test("expires out of stale, too, and says both reasons", () => {
    writeIdentityFiles(dir, ca.issue(), ca);
    const source = start();
    rmSync(join(dir, "svid.key"));
    clock.advance(HOUR);
    expect(source.state.kind).toBe("expired");
    expect(problemOf(source)?.message).toMatch(/expired at .*svid\.key/);
  });

  test("is revoked when its own bundle document lists no key any more", () => {
    writeIdentityFiles(dir, ca.issue(), ca);
    const path = join(dir, "bundle.json");
    writeFileSync(path, JSON.stringify({ keys: [{ kty: "EC", use: "x509-svid", x5c: [ca.der.toString("base64")] }] }));
    const source = start(optionsFor(dir, { "example.org": "bundle.json" }));
    expect(source.state.kind).toBe("serving");
    writeFileSync(path, '{"keys":[]}');
    clock.advance(POLL_MS);
    expect(source.state.kind).toBe("revoked");
  });

  test("does nothing any more once closed", () => {
    writeIdentityFiles(dir, ca.issue(), ca);
    const source = start();
    let changes = 0;
    source.subscribe(() => changes++);
    source.close();
    writeIdentityFiles(dir, ca.issue(), ca);
    clock.advance(2 * HOUR);
    expect(changes).toBe(0);
    expect(clock.pending).toBe(0);
  });
});

describe("a change is seen by watching", () => {
  const realClock: Clock = {
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    after(delayMs, fn) {
      const timer = setTimeout(fn, Math.min(delayMs, 2 ** 30));
      return () => clearTimeout(timer);
    },
  };
  const realCa = createTestCa("example.org");
  const untilServing = (source: IdentitySource, serial: string): Promise<void> =>
    new Promise((resolve) => {
      source.subscribe(() => {
        if (source.state.kind === "serving" && serialOf(source) === serial) resolve();
      });
    });

  test("when files are written in place", { timeout: POLL_MS - 1000 }, async () => {
    writeIdentityFiles(dir, realCa.issue(), realCa);
    const source = start(optionsFor(dir), realClock);
    const next = realCa.issue();
    const done = untilServing(source, serialIn(next));
    writeIdentityFiles(dir, next, realCa);
    await done;
  });

  test("when a Kubernetes volume swaps its symlink", { timeout: POLL_MS - 1000 }, async () => {
    const generation = (name: string, issued: TestIssued): void => {
      writeIdentityFiles(join(dir, name), issued, realCa);
      symlinkSync(name, join(dir, "..data_tmp"));
      renameSync(join(dir, "..data_tmp"), join(dir, "..data"));
    };
    generation("..1", realCa.issue());
    for (const file of ["svid.pem", "svid.key", "bundle.pem"]) symlinkSync(join("..data", file), join(dir, file));
    const source = start(optionsFor(dir), realClock);
    expect(source.state.kind).toBe("serving");
    const next = realCa.issue();
    const done = untilServing(source, serialIn(next));
    generation("..2", next);
    await done;
  });
});
