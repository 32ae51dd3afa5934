import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestCa, writeIdentityFiles } from "./support/cert-factory.ts";
import { ORDERS, TRUST_DOMAIN } from "./support/mesh.ts";

const root = join(import.meta.dirname, "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
let folder: string;
let bundle: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-bundle-"));
  bundle = join(folder, "dist", "countersign.mjs");
  execFileSync(process.execPath, [join(root, "tools", "build.mjs"), bundle]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(node: string, ...argv: string[]) {
  const { status, stdout, stderr } = spawnSync(node, [bundle, ...argv], {
    encoding: "utf8",
    cwd: folder,
    env: { SPIFFE_ENDPOINT_SOCKET: "unix:///nowhere.sock" },
  });
  return { status, stdout, stderr };
}

/** A Node before 26 that is installed here, or undefined. */
function oldNode(): string | undefined {
  for (const place of (process.env["PATH"] ?? "").split(delimiter)) {
    const node = join(place, "node");
    const { status, stdout } = spawnSync(node, ["-p", "process.versions.node"], { encoding: "utf8" });
    if (status === 0 && Number.parseInt(stdout, 10) < 26) return node;
  }
  return undefined;
}

describe("the bundled file", () => {
  it("loads no module before a command asks for it", () => {
    const code = readFileSync(bundle, "utf8");
    const imported = [...code.matchAll(/(?:^|[;}\s])import\s*[{*\w][^;"']*from\s*["']([^"']+)["']/g)].map(
      ([, name]) => name,
    );
    expect(imported).toEqual(["node:module", "node:path", "node:url"]);
  });

  it("answers with its version and says nothing else", () => {
    expect(run(process.execPath, "--version")).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("checks a configuration with nothing of the package beside it", () => {
    writeFileSync(join(folder, "c.yaml"), "lgo: {}\n");
    const { status, stdout, stderr } = run(process.execPath, "check", "-c", "c.yaml", "--json");
    expect({ status, stderr }).toEqual({ status: 2, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({ errors: [{ code: "E_CONFIG_KEY", fix: 'did you mean "log"?' }] });
  });

  it("runs its workers from the same file", async () => {
    const ca = createTestCa(TRUST_DOMAIN);
    writeIdentityFiles(folder, ca.issue({ spiffeId: ORDERS }), ca);
    const admin = join(folder, "admin.sock");
    const file = join(folder, "workers.yaml");
    writeFileSync(
      file,
      `identity: { files: { svid: svid.pem, key: svid.key, bundles: { ${TRUST_DOMAIN}: bundle.pem } } }
inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:9", protocol: http }]
audit: { sinks: [{ file: { path: audit.jsonl } }] }
admin: { listen: "unix://${admin}" }
workers: 2
`,
    );
    const child = spawn(process.execPath, [bundle, "run", "-c", file], { stdio: ["ignore", "ignore", "pipe"] });
    const ended = new Promise((resolve) => void child.once("exit", resolve));
    let log = "";
    try {
      for await (const text of child.stderr.setEncoding("utf8")) {
        log += String(text);
        if (log.includes('"event":"ready"')) break;
      }
      const { status, stdout } = run(process.execPath, "status", "--admin", admin, "--json");
      expect({ status, log: stdout === "" ? log : "" }).toEqual({ status: 0, log: "" });
      expect(JSON.parse(stdout)).toMatchObject({ ready: true, workers: [{ answering: true }, { answering: true }] });
    } finally {
      child.kill("SIGTERM");
    }
    expect(await ended).toBe(0);
  });
});

const old = oldNode();
describe.skipIf(old === undefined)(`run by an older Node (${old ?? "none is installed"})`, () => {
  const node = old ?? "";

  it("answers --version by itself, and else says how to get Node 26", () => {
    expect(run(node, "--version")).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
    const { status, stdout, stderr } = run(node, "check", "-c", "c.yaml");
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(/needs Node 26 or later; this is Node .*optional dependencies/);
  });

  it("runs again by the Node of its own package, with the same output and exit code", () => {
    const link = join(folder, "node_modules");
    symlinkSync(join(root, "node_modules"), link);
    try {
      expect(run(node, "check", "-c", "c.yaml")).toEqual(run(process.execPath, "check", "-c", "c.yaml"));
    } finally {
      rmSync(link);
    }
  });
});
