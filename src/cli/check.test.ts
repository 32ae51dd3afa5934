// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a variable of the configuration
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Ran, runCommand } from "../../test/support/run-command.ts";
import { run } from "./check.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-check-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): void {
  mkdirSync(join(folder, name, ".."), { recursive: true });
  writeFileSync(join(folder, name), text);
}

function check(...argv: string[]): Promise<Ran> {
  const env = { SPIFFE_ENDPOINT_SOCKET: "unix:///run/nobody/listens/here.sock", SECRET: "hunter2" };
  return runCommand(run, argv, folder, env);
}

interface Finding {
  code: string;
  message: string;
  file: string;
  line: number | null;
  column: number | null;
  fix: string | null;
}

async function checkJson(): Promise<{ code: number; errors: Finding[]; warnings: Finding[] }> {
  const { code, out, err } = await check("-c", "c.yaml", "--json");
  expect(err).toBe("");
  return { code, ...(JSON.parse(out) as { errors: Finding[]; warnings: Finding[] }) };
}

const sidecar = `workload: { namespace: shop, labels: { app: orders } }
inbound: [{ name: web, listen: "127.0.0.1:15006", app: "127.0.0.1:8080" }]
policies: [policies]
`;
const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  rules:
    - from: [{ source: { principals: [example.org/ns/shop/sa/web] } }]
`;

describe("a valid configuration", () => {
  beforeEach(() => {
    write("c.yaml", sidecar);
    write("policies/web.yaml", policy);
  });

  it("passes without asking the agent", async () => {
    expect(await checkJson()).toEqual({ code: 0, errors: [], warnings: [] });
    expect(await check("-c", "c.yaml")).toEqual({ code: 0, out: "no errors, no warnings\n", err: "" });
  });

  it("passes with warnings", async () => {
    write("c.yaml", `${sidecar}audit: { sinks: [{ file: { path: logs/audit.jsonl } }] }\n`);
    const { code, errors, warnings } = await checkJson();
    expect({ code, errors }).toEqual({ code: 0, errors: [] });
    expect(warnings).toEqual([
      {
        code: "W_CONFIG_FOLDER",
        message: `the folder ${join(folder, "logs")} does not exist yet`,
        file: "c.yaml",
        line: 4,
        column: 34,
        fix: "create it before the start",
      },
    ]);
  });
});

describe("errors", () => {
  it("shows those of the configuration and of the policies at once, each with place and fix", async () => {
    write("c.yaml", `${sidecar}log: { level: loud }\nlimts: {}\n`);
    write("policies/a.yaml", policy.replace("principals", "principles"));
    write("policies/b.yaml", `${policy.replace("name: web", "name: b")}---\nkind: Unheard\n`);
    const { code, errors } = await checkJson();
    expect(code).toBe(2);
    expect(errors.map(({ code: each, file, line }) => [each.slice(0, 9), file, line])).toEqual([
      ["E_CONFIG_", "c.yaml", 4],
      ["E_CONFIG_", "c.yaml", 5],
      ["E_POLICY_", "policies/a.yaml", 6],
      ["E_POLICY_", "policies/b.yaml", 8],
    ]);
    for (const error of errors) {
      expect(error.column).toBeGreaterThan(0);
      expect(error.fix).toMatch(/\S/);
    }
  });

  it("reads well on a terminal", async () => {
    write("c.yaml", "workload: { namespace: shop }\nlog: { level: loud, colour: always }\nlimts: {}\n");
    expect(await check("-c", "c.yaml")).toEqual({
      code: 2,
      err: "",
      out: `c.yaml:2:15  error E_CONFIG_VALUE  log.level is "loud"
    fix: write one of trace, debug, info, warn, error, fatal, silent
c.yaml:2:21  error E_CONFIG_KEY  log has no key "colour"
    fix: remove it; known here: level
c.yaml:3:1  error E_CONFIG_KEY  the file has no key "limts"
    fix: did you mean "limits"?

3 errors, no warnings
`,
    });
  });

  it("says which file is missing", async () => {
    const absolute = join(folder, "c.yaml");
    const { code, out } = await check("-c", absolute, "--json");
    expect(code).toBe(2);
    expect(JSON.parse(out)).toMatchObject({
      errors: [
        {
          code: "E_CONFIG_FILE",
          message: "does not exist",
          file: absolute,
          line: null,
          column: null,
          fix: expect.stringMatching(/\S/),
        },
      ],
    });
    write("c.yaml", sidecar);
    expect(await checkJson()).toMatchObject({
      code: 2,
      errors: [{ code: "E_CONFIG_FILE", file: "c.yaml", line: 3, column: 12 }],
    });
  });

  it("shows no secret and no terminal control", async () => {
    write("c.yaml", 'log: { level: "${SECRET}" }\n"\\e[31m": 1\n');
    const { out } = await check("-c", "c.yaml");
    expect(out).toContain("log.level");
    expect(out).not.toContain("hunter2");
    expect(out).not.toContain("\u001b");
  });

  it.each([[], ["--what"], ["-c"]])("ends with 2 on wrong usage: %s", async (...argv) => {
    expect(await check(...argv)).toMatchObject({ code: 2, out: "" });
  });
});

describe("warnings about files", () => {
  const identity = "identity: { files: { svid: svid.pem, key: svid.key, bundles: { example.org: bundle.pem } } }\n";

  it("names what is not there yet", async () => {
    write("c.yaml", `${sidecar}${identity}admin: { listen: "unix:///nowhere/at/all/admin.sock" }\n`);
    mkdirSync(join(folder, "policies"));
    const { code, warnings } = await checkJson();
    expect(code).toBe(0);
    expect(warnings.map(({ code: each, line, column }) => [each, line, column])).toEqual([
      ["W_CONFIG_FILE", 4, 28],
      ["W_CONFIG_FILE", 4, 77],
      ["W_CONFIG_FILE", 4, 43],
      ["W_CONFIG_FOLDER", 5, 18],
      ["W_CONFIG_NO_POLICIES", 3, 12],
    ]);
  });

  it.each([
    [0o600, []],
    [0o640, ["W_CONFIG_KEY_READABLE"]],
    [0o604, ["W_CONFIG_KEY_READABLE"]],
  ])("looks at who may read the key: mode %o", async (mode, expected) => {
    write("c.yaml", sidecar + identity);
    for (const name of ["svid.pem", "svid.key", "bundle.pem"]) write(name, "");
    write("policies/web.yaml", policy);
    chmodSync(join(folder, "svid.key"), mode);
    expect((await checkJson()).warnings.map(({ code }) => code)).toEqual(expected);
  });
});
