import { Command } from "commander";
import type { CliIo } from "./cli-io.ts";
import { defineBundle } from "./issuer-bundle.ts";
import { defineEntries } from "./issuer-entries.ts";
import { parseCommand } from "./parse-command.ts";

/** `countersign issuer run | entries | bundle`: the embedded SPIFFE identity provider of one machine. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const finish = (code: number): void => {
    exitCode = code;
  };
  const program = new Command("countersign issuer").description("the embedded SPIFFE identity provider of one machine");
  program
    .command("run")
    .description("serve the SPIFFE Workload API; SIGHUP reloads issuer.yaml, SIGTERM stops")
    .requiredOption("-c, --config <file>", "issuer.yaml")
    .action(async ({ config }: { config: string }) => {
      const { runIssuer } = await import("./issuer-run.ts");
      finish(await runIssuer(config, io));
    });
  defineEntries(program, io, finish);
  defineBundle(program, io, finish);

  return parseCommand(program, argv, io, () => exitCode);
}
