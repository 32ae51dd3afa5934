import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Ran, runCommand } from "../../test/support/run-command.ts";
import { run } from "./issuer.ts";

const root = resolve(import.meta.dirname, "../..");
const isRoot = process.getuid?.() === 0;
const myUid = process.getuid?.() ?? 0;
let folder: string;
let children: ChildProcess[];
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-")));
  children = [];
});
afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    // oxlint-disable-next-line no-await-in-loop -- few
    await once(child, "exit");
  }
  rmSync(folder, { recursive: true });
});

const NODE_FLAGS = ["--disable-warning=ExperimentalWarning"];

function writeConfig(entries: string): string {
  const file = join(folder, "issuer.yaml");
  const yaml = `trustDomain: example.org\nsocket: unix://${folder}/sock/s\nstate: state\nsvidRotation: 1s\ndevelopment: true\nentries: [${entries}]\n`;
  writeFileSync(file, yaml);
  return file;
}
const entry = (id: string, ...selectors: string[]): string =>
  `{ id: spiffe://example.org/${id}, selectors: ${JSON.stringify(selectors)} }`;

interface Issuer {
  readonly child: ChildProcess;
  /** The next log line with this event. */
  event(name: string): Promise<Record<string, unknown>>;
}

/** Starts the real program; its log is read line by line. */
function startIssuer(config: string, uid = myUid): Issuer {
  const child = spawn(process.execPath, [...NODE_FLAGS, "src/cli/main.ts", "issuer", "run", "-c", config], {
    cwd: root,
    stdio: ["ignore", "ignore", "pipe"],
    ...(uid === myUid ? {} : { uid, gid: uid }),
  });
  children.push(child);
  const lines = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
  return {
    child,
    async event(name) {
      const seen: string[] = [];
      for (;;) {
        // oxlint-disable-next-line no-await-in-loop -- lines come one after the other
        const { done, value } = await lines.next();
        if (done === true) throw new Error(`no ${name} in the log: ${seen.join("\n")}`);
        seen.push(value);
        const fields = JSON.parse(value) as Record<string, unknown>;
        if (fields["event"] === name) return fields;
      }
    },
  };
}

/** Another name for node, which unix:path tells apart. */
function nodeNamed(name: string): string {
  const path = join(folder, name);
  try {
    linkSync(process.execPath, path);
  } catch {
    copyFileSync(process.execPath, path);
  }
  return path;
}

/** Fetches an X.509-SVID by another process: its ID, or the status and text of the refusal. */
async function fetchFrom(node: string, uid = myUid): Promise<string> {
  const script = `
    const { workloadApiClient } = await import(${JSON.stringify(join(root, "test/support/workload-api-client.ts"))});
    const client = await workloadApiClient(${JSON.stringify(`unix://${folder}/sock/s`)});
    const stream = client.stream("FetchX509SVID");
    const answer = await stream.next().then(({ svids }) => svids.map(({ spiffeId }) => spiffeId).join(" "), (error) => error.details);
    process.stdout.write(answer);
    process.exit();`;
  const child = spawn(node, [...NODE_FLAGS, "--input-type=module", "-e", script], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    ...(uid === myUid ? {} : { uid, gid: uid }),
  });
  children.push(child);
  let answer = "";
  child.stdout.on("data", (chunk: Buffer) => {
    answer += chunk.toString();
  });
  await once(child, "close");
  return answer;
}

describe.runIf(process.platform === "linux")("countersign issuer run", () => {
  it("tells processes apart by what the kernel says, reloads on SIGHUP and stops on SIGTERM", async () => {
    const [orders, payments] = [nodeNamed("node-orders"), nodeNamed("node-payments")];
    const both = [
      entry("orders", `unix:uid:${myUid}`, `unix:path:${orders}`),
      entry("payments", `unix:uid:${myUid}`, `unix:path:${payments}`),
    ];
    const issuer = startIssuer(writeConfig(both.join(", ")));
    expect(await issuer.event("listening")).toMatchObject({
      name: "workload-api",
      address: `unix://${folder}/sock/s`,
    });
    await issuer.event("ready");
    expect(await Promise.all([orders, payments].map((node) => fetchFrom(node)))).toEqual([
      "spiffe://example.org/orders",
      "spiffe://example.org/payments",
    ]);
    expect(await issuer.event("issued")).toMatchObject({
      kind: "x509",
      uid: myUid,
      serial: expect.any(String) as string,
    });
    expect(await fetchFrom(process.execPath)).toContain(`no entry matches uid ${myUid}`);
    expect(await issuer.event("refused")).toMatchObject({ call: "FetchX509SVID", uid: myUid });

    writeConfig(`${both[0]}, nonsense`);
    issuer.child.kill("SIGHUP");
    const rejected = await issuer.event("entries.rejected");
    expect(String(rejected["errors"])).toContain("issuer.yaml:6:");
    expect(await fetchFrom(payments)).toBe("spiffe://example.org/payments");

    writeConfig(both[0] ?? "");
    issuer.child.kill("SIGHUP");
    expect(await issuer.event("entries.loaded")).toMatchObject({ entries: 1 });
    expect(await fetchFrom(payments)).toContain("no entry matches");

    issuer.child.kill("SIGTERM");
    await issuer.event("stopped");
    const [code] = (await once(issuer.child, "exit")) as [number | null];
    expect(code).toBe(0);
  });

  it.runIf(isRoot)("without CAP_SYS_PTRACE serves its own user only, and says so", async () => {
    const uid = 12345;
    chmodSync(folder, 0o755);
    for (const name of ["sock", "state"]) {
      mkdirSync(join(folder, name), { mode: name === "state" ? 0o700 : 0o755 });
      chownSync(join(folder, name), uid, uid);
    }
    const issuer = startIssuer(writeConfig(`${entry("a", `unix:uid:${uid}`)}, ${entry("b", "unix:uid:0")}`), uid);
    expect(await issuer.event("limited")).toMatchObject({
      reason: `without CAP_SYS_PTRACE only callers of uid ${uid} are served`,
    });
    expect(await fetchFrom(process.execPath, uid)).toBe("spiffe://example.org/a");
    expect(await fetchFrom(process.execPath)).toContain("may not be looked at without CAP_SYS_PTRACE");
  });
});

function cli(...argv: string[]): Promise<Ran> {
  return runCommand(run, argv, folder);
}

describe("countersign issuer", () => {
  it("entries lists who gets which ID, for people and as JSON", async () => {
    writeConfig(entry("a", "unix:uid:7", "unix:path:/opt/a"));
    const entryId = "3b22d82d5eff";
    expect(await cli("entries", "-c", "issuer.yaml")).toEqual({
      code: 0,
      out: `${entryId}  spiffe://example.org/a  unix:uid:7 unix:path:/opt/a\n`,
      err: "",
    });
    const { out } = await cli("entries", "-c", "issuer.yaml", "--json");
    expect(JSON.parse(out)).toEqual({
      entries: [
        {
          entryId,
          source: "file",
          id: "spiffe://example.org/a",
          selectors: ["unix:uid:7", "unix:path:/opt/a"],
          hint: "",
        },
      ],
    });
  });

  it.each([
    [["run", "-c", "missing.yaml"], "E_CONFIG_FILE"],
    [["entries"], "give -c issuer.yaml or --admin unix:///path"],
    [["bundle", "-c", "issuer.yaml", "--format", "der"], "Allowed choices are pem, jwks"],
    [["nonsense"], "unknown command"],
  ])("%j is wrong usage: exit 2, said on stderr", async (argv, expected) => {
    writeConfig("");
    const { code, out, err } = await cli(...argv);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain(expected);
  });

  it("run refuses a file with errors and lists them all with their places", async () => {
    writeConfig("{ id: x }, 7");
    const { code, err } = await cli("run", "-c", "issuer.yaml");
    expect(code).toBe(2);
    expect(err.trim().split("\n")).toHaveLength(3);
    expect(err).toContain(`${folder}/issuer.yaml:6:17: E_CONFIG_VALUE`);
  });

  it("bundle says when there is none yet", async () => {
    writeConfig("");
    await expect(cli("bundle", "-c", "issuer.yaml")).rejects.toThrow(
      expect.objectContaining({ code: "E_ISSUER_NO_STATE" }) as Error,
    );
  });

  it.runIf(process.platform === "linux")("bundle prints what the running issuer's verifiers must trust", async () => {
    const issuer = startIssuer(writeConfig(""));
    await issuer.event("ready");
    const pem = await cli("bundle", "-c", "issuer.yaml");
    expect(pem.out).toMatch(/^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n$/);
    const jwks = JSON.parse((await cli("bundle", "-c", "issuer.yaml", "--format", "jwks")).out) as {
      keys: Record<string, unknown>[];
    };
    expect(jwks).toMatchObject({ spiffe_sequence: 1, spiffe_refresh_hint: 300 });
    expect(jwks.keys.map(({ use }) => use)).toEqual(["x509-svid", "jwt-svid"]);
    expect(jwks.keys.every((key) => !("d" in key))).toBe(true);
  });

  describe.runIf(process.platform === "linux")("with a running issuer", () => {
    const config = (): string => {
      const file = writeConfig(entry("a", "unix:uid:7"));
      appendFileSync(file, `admin: unix://${folder}/sock/admin\naudit: { sinks: [{ file: { path: audit.jsonl } }] }\n`);
      return file;
    };
    const records = (): Record<string, unknown>[] =>
      readFileSync(join(folder, "audit.jsonl"), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, unknown>);

    it("entries are added, listed apart and removed; who did it is on record", async () => {
      const issuer = startIssuer(config());
      await issuer.event("ready");
      const id = "spiffe://example.org/b";
      const what = ["--id", id, "--selector", `unix:uid:${myUid}`, "unix:path:/bin/sh", "--hint", "x"];
      const more = ["--svid-ttl", "5m", "--jwt-ttl", "1m", "--federates-with", "partner.org"];
      const added = await cli("entries", "add", "-c", "issuer.yaml", ...what, ...more);
      expect(added).toMatchObject({
        code: 0,
        out: expect.stringMatching(
          new RegExp(
            `^[0-9a-f]{12}  ${id}  unix:uid:${myUid} unix:path:/bin/sh  hint "x"  svidTtl 300000ms  jwtTtl 60000ms  federatesWith partner.org  added\n$`,
          ),
        ) as string,
      });
      expect(added.err).toMatch(/W_ISSUER_FEDERATES.*\nW_ISSUER_INTERPRETER/);
      const { out } = await cli("entries", "list", "--admin", join(folder, "sock/admin"), "--json");
      const { entries } = JSON.parse(out) as { entries: { entryId: string; id: string; source: string }[] };
      expect(entries.map((one) => [one.id, one.source])).toEqual([
        ["spiffe://example.org/a", "file"],
        [id, "added"],
      ]);
      expect(await cli("entries", "remove", "-c", "issuer.yaml", id)).toMatchObject({ code: 0 });
      expect((await cli("entries", "-c", "issuer.yaml")).out.split("\n")).toHaveLength(2);
      const refused = (code: string): Error => expect.objectContaining({ code }) as Error;
      await expect(cli("entries", "remove", "-c", "issuer.yaml", id)).rejects.toThrow(refused("E_ISSUER_ENTRY"));
      await expect(cli("entries", "remove", "-c", "issuer.yaml", entries[0]?.entryId ?? "")).rejects.toThrow(
        refused("E_ISSUER_ENTRY"),
      );
      const twice = cli(
        "entries",
        "add",
        "-c",
        "issuer.yaml",
        "--spiffe-id",
        "spiffe://other.org/x",
        "--selector",
        "unix:uid:9",
      );
      await expect(twice).rejects.toThrow(refused("E_ISSUER_ENTRY"));
      issuer.child.kill("SIGTERM");
      await once(issuer.child, "exit");
      expect(records().map(({ reason }) => reason)).toEqual(["entry.added", "entry.removed"]);
      expect(records()[0]).toMatchObject({ kind: "identity", source: { local: { uid: myUid } } });
    });

    it("bundles of other domains are set, listed with their age, and removed", async () => {
      const issuer = startIssuer(config());
      await issuer.event("ready");
      const own = await cli("bundle", "-c", "issuer.yaml", "--format", "jwks");
      writeFileSync(join(folder, "partner.json"), own.out);
      const set = await cli("bundle", "set", "-c", "issuer.yaml", "partner.org", "partner.json");
      expect(set).toMatchObject({ code: 0, out: "the bundle of partner.org is set\n" });
      expect((await cli("bundle", "list", "-c", "issuer.yaml")).out).toMatch(
        /^partner.org {2}set by hand {2}\d+ s old {2}sequence 1 {2}1 X.509 and 1 JWT authorities\n$/,
      );
      expect(await cli("bundle", "remove", "-c", "issuer.yaml", "partner.org")).toMatchObject({ code: 0 });
      expect(JSON.parse((await cli("bundle", "list", "-c", "issuer.yaml", "--json")).out)).toEqual({ bundles: [] });
      await expect(cli("bundle", "set", "-c", "issuer.yaml", "partner.org", "none")).rejects.toThrow(
        expect.objectContaining({ code: "E_IDENTITY_FILE" }) as Error,
      );
    });

    it("gives nothing while its records cannot be written", async () => {
      const file = config();
      mkdirSync(join(folder, "audit.jsonl"));
      const issuer = startIssuer(file);
      await issuer.event("ready");
      writeFileSync(file, readFileSync(file, "utf8").replace("unix:uid:7", `unix:uid:${myUid}`));
      issuer.child.kill("SIGHUP");
      await issuer.event("entries.loaded");
      expect(await fetchFrom(process.execPath)).toContain("E_AUDIT_UNAVAILABLE nothing is issued unrecorded");
    });
  });

  it("entries list says that it shows the file's when nobody runs, other commands that nobody answers", async () => {
    const file = writeConfig(entry("a", "unix:uid:7"));
    appendFileSync(file, `admin: unix://${folder}/sock/admin\n`);
    expect(await cli("entries", "-c", "issuer.yaml")).toMatchObject({
      code: 0,
      out: expect.stringContaining("spiffe://example.org/a") as string,
      err: expect.stringContaining("these are the file's entries") as string,
    });
    await expect(cli("bundle", "list", "-c", "issuer.yaml")).rejects.toThrow(
      expect.objectContaining({
        code: "E_ISSUER_ADMIN",
        message: expect.stringContaining("is the issuer running?") as string,
      }) as Error,
    );
  });

  it.each([
    [["entries", "add", "--id", "spiffe://example.org/b"], "required option '--selector"],
    [["entries", "add", "--selector", "x"], "required option '--id, --spiffe-id"],
    [["entries", "add", "-c", "issuer.yaml", "--id", "x", "--selector", "y"], "has no admin: unix:///path"],
    [["entries", "remove", "-c", "issuer.yaml"], "missing required argument"],
    [["entries", "remove", "x", "--admin", "tcp://1"], "is no unix:// address"],
    [["bundle", "list", "-c", "issuer.yaml", "--admin", "/x"], "give -c issuer.yaml or --admin"],
  ])("%j is wrong usage: exit 2", async (argv, message) => {
    writeConfig("");
    const { code, err } = await cli(...argv);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});
