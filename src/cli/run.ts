import { resolve } from "node:path";
import { Command } from "commander";
import type { CliIo } from "./cli-io.ts";
import { parseCommand } from "./parse-command.ts";
import { runSidecar } from "./run-sidecar.ts";

/** `countersign run -c countersign.yaml`: the sidecar. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const program = new Command("countersign run")
    .description("run the sidecar; SIGTERM drains, SIGHUP reloads, changed files are noticed")
    .requiredOption("-c, --config <file>", "countersign.yaml")
    .action(async ({ config }: { config: string }) => {
      exitCode = await runSidecar(resolve(io.cwd, config), io);
    });
  return parseCommand(program, argv, io, () => exitCode);
}
