import { Command, CommanderError } from "commander";
import { errorCodes } from "../core/error-codes.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";

type Action = (...args: never[]) => Promise<number>;

/** `countersign policy`: what policies mean, before and after they are in force. 0: done; 1: denied, failed, changed or found something; 2:
 *  wrong usage, configuration or policies. None of the commands touches the network. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const act =
    (action: Action) =>
    async (...args: unknown[]): Promise<void> => {
      exitCode = await action(...(args as never[]));
    };
  const program = new Command("countersign policy").description(
    "what policies mean, before and after they are in force",
  );
  const config = ["-c, --config <file>", "countersign.yaml: which policies, and how they are read"] as const;
  const trustDomain = ["--trust-domain <name>", "our own trust domain, where no SVID says it"] as const;

  program
    .command("suggest")
    .description("the least-privilege policies that allow exactly the calls of an audit log")
    .argument("[files...]", "audit files, rotated ones too (default: those of the configuration)")
    .requiredOption(...config)
    .option(...trustDomain)
    .option("--outbound", "of calls that this app makes, not of those that it gets")
    .option("--name <name>", "name of the policy", "suggested")
    .option("--exact", "no templates: every path as it was called")
    .option("--ids <count>", "how many different ids at one place of a path make a template", "2")
    .option("--names <count>", "how many different names at one place of a path make a template", "32")
    .action(
      act(async (files: string[], options: import("./policy-suggest.ts").SuggestArguments) => {
        const { suggest } = await import("./policy-suggest.ts");
        return suggest(files, options, io);
      }),
    );

  for (const command of [program, ...program.commands])
    command.exitOverride().configureOutput({ writeOut: io.out, writeErr: io.err });
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof CountersignErrors) {
      io.err(`${error.errors.map(formatError).join("\n")}\n`);
      return 2;
    }
    if (!(error instanceof CountersignError)) throw error;
    const fix = error.fix ?? errorCodes[error.code].fix;
    io.err(`${formatError(new CountersignError(error.code, error.message, { at: error.at, fix }))}\n`);
    return 2;
  }
  return exitCode;
}
