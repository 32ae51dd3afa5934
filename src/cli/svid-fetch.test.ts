import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestCa } from "../../test/support/cert-factory.ts";
import { type TestIssuer, testIssuer } from "../../test/support/test-issuer.ts";
import { createFilesSource } from "../certs/files-source.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { systemClock } from "../sys/system-clock.ts";
import { run } from "./svid.ts";

let issuer: TestIssuer;
let stop: AbortController;
beforeEach(() => {
  issuer = testIssuer(Date.now());
  stop = new AbortController();
});
afterEach(() => issuer.close());

const orders = "spiffe://example.org/ns/shop/sa/orders";
const two = `development: true
svidTtl: 40s
entries:
  - { id: ${orders}, selectors: ["unix:uid:1001"], hint: internal }
  - { id: spiffe://example.org/admin, selectors: ["unix:uid:1001"], hint: admin }`;

interface Output {
  readonly out: string[];
  readonly err: string[];
  readonly code: Promise<number>;
}
function svid(...argv: string[]): Output {
  const [out, err]: [string[], string[]] = [[], []];
  const code = run(argv, {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    env: { SPIFFE_ENDPOINT_SOCKET: `unix://${issuer.folder}/s` },
    cwd: issuer.folder,
    colour: false,
    signal: stop.signal,
  });
  return { out, err, code };
}
const modes = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(join(issuer.folder, folder)).map((name) => [
      name,
      (statSync(join(issuer.folder, folder, name)).mode & 0o777).toString(8),
    ]),
  );

describe("countersign svid fetch", () => {
  it.each([[["fetch"]], [["fetch", "x509"]]])(
    "%j says what identity we have, from where, until when, and no key",
    async (argv) => {
      await issuer.start(two);
      const { out, code } = svid(...argv);
      expect(await code).toBe(0);
      const text = out.join("");
      expect(text).toContain(`from unix://${issuer.folder}/s`);
      expect(text).toContain(`SVID    ${orders}  (default, hint "internal")`);
      expect(text).toMatch(/serial [0-9a-f]{32}, valid \S+Z to \S+Z/);
      expect(text).toContain("bundle  example.org: 1 authorities");
      expect(text).not.toContain("PRIVATE");
    },
  );

  it("--json gives the same as one line, the SVID with --hint first", async () => {
    await issuer.start(two);
    const { out, code } = svid("fetch", "--json", "--hint", "admin");
    expect(await code).toBe(0);
    expect(JSON.parse(out.join(""))).toMatchObject({
      svids: [{ spiffeId: "spiffe://example.org/admin", hint: "admin", certificates: 1 }, { spiffeId: orders }],
      bundles: [{ trustDomain: "example.org", authorities: 1, crls: 0 }],
      written: [],
    });
  });

  it("--write makes files of mode 0600 that a sidecar takes, other domains' bundles among them", async () => {
    const partner = createTestCa("partner.test");
    writeFileSync(join(issuer.folder, "partner.pem"), partner.bundlePem);
    await issuer.start(`${two}
federatesWith:
  partner.test: { url: "https://127.0.0.1:9/", profile: https_spiffe, endpointId: spiffe://partner.test/i, bootstrap: partner.pem }`);
    expect(await svid("fetch", "--write", "id").code).toBe(0);
    expect(modes("id")).toEqual({
      "svid.pem": "600",
      "svid.key": "600",
      "bundle.pem": "600",
      "partner.test.pem": "600",
    });
    expect(statSync(join(issuer.folder, "id")).mode & 0o777).toBe(0o700);
    const at = (name: string): string => join(issuer.folder, "id", name);
    const bundles = new Map([
      [parseTrustDomain("example.org"), at("bundle.pem")],
      [parseTrustDomain("partner.test"), at("partner.test.pem")],
    ]);
    const source = createFilesSource(
      { svid: at("svid.pem"), key: at("svid.key"), bundles },
      systemClock,
      () => undefined,
    );
    expect(source.state).toMatchObject({ kind: "serving", snapshot: { svids: [{ spiffeId: orders }] } });
    source.close();
  });

  it("--watch writes each rotation, and ends when it is stopped", async () => {
    await issuer.start(two);
    const { out, code } = svid("fetch", "--watch", "--json", "--write", "id");
    await expect.poll(() => out.length).toBe(1);
    const first = readFileSync(join(issuer.folder, "id/svid.pem"), "utf8");
    issuer.clock.advance(20_000);
    await expect.poll(() => out.length).toBe(2);
    expect(readFileSync(join(issuer.folder, "id/svid.pem"), "utf8")).not.toBe(first);
    expect(Object.keys(modes("id"))).not.toContain("svid.pem.new");
    stop.abort();
    expect(await code).toBe(0);
  });

  it("jwt prints the token alone, and what it is beside it", async () => {
    await issuer.start(two);
    const { out, err, code } = svid("fetch", "jwt", "--audience", "a", "b");
    expect(await code).toBe(0);
    expect(out.join("")).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    expect(err.join("")).toMatch(new RegExp(`^${orders} for a, b, until .*Z\n$`));
  });

  it("jwt --write puts the token into a file of mode 0600 and nowhere else", async () => {
    await issuer.start(two);
    const { out, code } = svid("fetch", "jwt", "--audience", "a", "--hint", "admin", "--json", "--write", "id");
    expect(await code).toBe(0);
    expect(modes("id")).toEqual({ "jwt_svid.token": "600" });
    const about = JSON.parse(out.join("")) as Record<string, unknown>;
    expect(about).toMatchObject({
      spiffeId: "spiffe://example.org/admin",
      audience: ["a"],
      file: join(issuer.folder, "id/jwt_svid.token"),
    });
    expect(about).not.toHaveProperty("token");
  });

  it.each([
    [["fetch", "--hint", "none"], "E_IDENTITY_HINT"],
    [["fetch", "jwt", "--audience", "a", "--hint", "none"], "E_IDENTITY_HINT"],
    [["fetch", "jwt", "--audience", "a", "--spiffe-id", "spiffe://example.org/x"], "E_WORKLOAD_API_DENIED"],
    [["fetch", "--write", "issuer-file"], "E_IDENTITY_FILE"],
    [["fetch", "--address", "/nowhere/s"], "E_WORKLOAD_API_UNAVAILABLE"],
  ])("%j fails with its reason", async (argv, code) => {
    await issuer.start(two);
    writeFileSync(join(issuer.folder, "issuer-file"), "");
    await expect(svid(...argv).code).rejects.toThrow(expect.objectContaining({ code }) as Error);
  });

  it.each([
    [["fetch", "jwt"], "required option '--audience"],
    [["fetch", "--address", "unix://x"], "E_WORKLOAD_API_ADDRESS"],
    [["fetch", "--address", ""], "E_WORKLOAD_API_ADDRESS"],
    [["fetch", "-c", "none.yaml"], "E_CONFIG_FILE"],
    [["fetch", "nonsense"], "too many arguments"],
  ])("%j is wrong usage: exit 2", async (argv, message) => {
    const { err, code } = svid(...argv);
    expect(await code).toBe(2);
    expect(err.join("")).toContain(message);
  });

  it("asks where the sidecar of a configuration does", async () => {
    await issuer.start(two);
    const yaml = `identity: { workloadApi: { address: "unix://${issuer.folder}/s" } }\ninbound: [{ listen: "127.0.0.1:0", app: "127.0.0.1:1" }]\n`;
    writeFileSync(join(issuer.folder, "sidecar.yaml"), yaml);
    const { out, code } = svid("fetch", "-c", "sidecar.yaml");
    expect(await code).toBe(0);
    expect(out.join("")).toContain(orders);
  });
});
