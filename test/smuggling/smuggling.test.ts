import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { originHints, originNames } from "./origins.ts";
import { seededFaults } from "./seeded-faults.ts";
import { routes } from "./smuggle-requests.ts";

/** Of each run; a longer one is `node test/smuggling/main.ts --mutants 100000`. */
const mutants = 1_000;
const seed = Number(process.env["SMUGGLING_SEED"] ?? Math.floor(Date.now() / 86_400_000)); // new ones each day

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** In a process of its own: a fault may break more than a comparison. */
function run(args: readonly string[], fault?: string): Run {
  const main = join(import.meta.dirname, "main.ts");
  const imports = fault === undefined ? [] : ["--import", join(import.meta.dirname, "seed-fault.ts")];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", ...imports, main, ...args],
    { encoding: "utf8", timeout: 240_000, env: { ...process.env, SEEDED_FAULT: fault ?? "" }, maxBuffer: 1 << 28 },
  );
  return { code: status, stdout, stderr };
}

describe.each(originNames)("behind the sidecar %s", (origin) => {
  it.for(routes)("understands the requests that the records say, and no other, by the route %s", (route, test) => {
    const args = ["--origin", origin, "--route", route, "--mutants", `${mutants}`, "--seed", `${seed}`];
    const { code, stdout, stderr } = run(args);
    test.skip(code === 3, originHints[origin]);
    expect(stderr).toBe("");
    const result = JSON.parse(stdout) as { readonly reached: number; readonly differences: readonly string[] };
    expect(result.differences, stdout).toEqual([]);
    expect(result.reached).toBeGreaterThanOrEqual(mutants / 4);
    expect(code).toBe(0);
  });
});

describe("the generator finds a fault that is seeded into the codecs:", () => {
  it.each(seededFaults)("$name", ({ name, route }) => {
    const args = ["--origin", "python", "--route", route, "--mutants", "1500", "--seed", "3"];
    const { code, stderr } = run(args, name);
    expect(stderr).not.toContain("no longer what the fault");
    // a difference; a fault that the writers' own checks catch would be no smuggling, and is none of the list
    expect(code, stderr).toBe(1);
  });
});
