import { resolve } from "node:path";
import { Command, CommanderError } from "commander";
import type { CliIo } from "./cli-io.ts";
import { runSidecar } from "./run-sidecar.ts";

/** `countersign run -c countersign.yaml`: the sidecar. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const program = new Command("countersign run")
    .description("run the sidecar; SIGTERM drains, SIGHUP reloads, changed files are noticed")
    .requiredOption("-c, --config <file>", "countersign.yaml")
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .action(async ({ config }: { config: string }) => {
      exitCode = await runSidecar(resolve(io.cwd, config), io);
    });
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return exitCode;
}
