// `npm run soak -- <name>`, or `npm run soak -- --minutes 20`: checks of the built program that take minutes. Not part of `npm test`; see docs/performance.md.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createChildren } from "../../bench/processes.ts";
import { createChecks } from "./checks.ts";
import { buildCli } from "./sidecar.ts";
import type { SoakProgram } from "./soak-program.ts";

/** Whatever hangs ends after this long. */
const limitMs = 60 * 60_000;

const programs: Readonly<Record<string, () => Promise<SoakProgram>>> = {
  rotation: async () => (await import("./rotation.ts")).rotation,
  rotations: async () => (await import("./rotations.ts")).rotations,
  "large-body": async () => (await import("./large-body.ts")).largeBody,
  mixed: async () => (await import("./mixed.ts")).mixed,
  abuse: async () => (await import("./abuse.ts")).abuse,
  faults: async () => (await import("./faults.ts")).faults,
  crash: async () => (await import("./crash.ts")).crash,
};

async function main(argv: readonly string[], signal: AbortSignal): Promise<number> {
  // `--minutes 20` alone asks for the mixed load
  const [name = "", ...rest] = argv[0]?.startsWith("--") === true ? ["mixed", ...argv] : argv;
  const load = Object.hasOwn(programs, name) ? programs[name] : undefined;
  if (load === undefined) {
    console.error(`usage: npm run soak -- ${Object.keys(programs).join(" | ")} [options]`);
    return 2;
  }
  const program = await load();
  const dir = mkdtempSync(join(tmpdir(), "countersign-soak-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  const checks = createChecks();
  await using children = createChildren(signal);
  await buildCli(children);
  await program({ dir, children, checks, signal }, rest);
  return checks.close();
}

const interrupt = new AbortController();
for (const kind of ["SIGINT", "SIGTERM"] as const)
  process.once(kind, () => interrupt.abort(new Error(`stopped by ${kind}; nothing is left running`)));
const stop = AbortSignal.any([interrupt.signal, AbortSignal.timeout(limitMs)]);
try {
  process.exitCode = await main(process.argv.slice(2), stop);
} catch (error) {
  const first: unknown = stop.aborted ? stop.reason : error; // what fails after an interruption fails because of it
  for (let current = first; current instanceof Error; current = current.cause)
    console.error(`soak: ${current.message}`);
  process.exitCode = 2;
}
// what an interruption leaves open must not keep it
process.exit();
