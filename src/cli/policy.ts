import { Command } from "commander";
import { errorCodes } from "../core/error-codes.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";
import { parseCommand } from "./parse-command.ts";

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
    .command("explain")
    .description("what a sidecar would decide about a call, and why")
    .requiredOption(...config)
    .option(...trustDomain)
    .option("--from <id>", "the caller's SPIFFE ID, or nobody (the default)")
    .option("--ip <address>", "the TCP peer")
    .option("--remote-ip <address>", "the client behind trusted proxies")
    .option("--port <port>", "the app's port, where there are several")
    .option("--destination-ip <address>", "the address that the caller connected to")
    .option("--sni <name>", "the server name of the handshake")
    .option("--to <id>", "an outbound call: the SPIFFE ID that answers, or nobody")
    .option("--tcp", "a TCP connection")
    .option("--method <method>", "default GET")
    .option("--host <authority>", "Host or :authority")
    .option("--path <path>", "with its query; default /")
    .option("--header <line...>", "'name: value'")
    .option("--claims <json>", "the claims of a verified token")
    .option("--time <time>", "like 2030-01-01T12:00:00Z; default now")
    .option("--curl <line>", "the request as one types it for curl")
    .option("--id <id>", "a call of the audit log")
    .option("--audit <files...>", "audit files to look for it (default: the configuration's)")
    .option("--requests <file>", "a file of requests (- for stdin), a JSON line each: one line is the answer to each")
    .option("--all", "show every rule")
    .option("--json", "as JSON")
    .action(
      act(async (options: import("./policy-explain-flags.ts").ExplainArguments) => {
        const { explain } = await import("./policy-explain.ts");
        return explain(options, io);
      }),
    );
  program
    .command("test")
    .description("tables of calls and what is to become of them (*.test.yaml)")
    .argument("[files...]", "tables, or folders of them (default: beside the configuration and below)")
    .option(...config)
    .option(...trustDomain)
    .option("--coverage <percent>", "fail when a smaller share of the rules decides a call", "0")
    .option("--verbose", "show rows that pass, too")
    .option("--json", "as JSON")
    .action(
      act(async (files: string[], options: import("./policy-test.ts").TestArguments) => {
        const { test } = await import("./policy-test.ts");
        return test(files, options, io);
      }),
    );
  program
    .command("lint")
    .description("what is wrong with policies, or probably not meant")
    .argument("[files...]", "policy files or folders, - for stdin (default: those of the configuration)")
    .requiredOption(...config)
    .option(...trustDomain)
    .option("--fix", "change the files where the fix is certain")
    .option("--json", "as JSON")
    .action(
      act(async (files: string[], options: import("./policy-lint.ts").LintArguments) => {
        const { lint } = await import("./policy-lint.ts");
        return lint(files, options, io);
      }),
    );
  program
    .command("diff")
    .description("which calls change verdict from one set of policies to another")
    .argument("<before>", "policy file or folder, or a whole countersign.yaml")
    .argument("<after>", "the same")
    .option(...config)
    .option(...trustDomain)
    .option("--audit <files...>", "calls of these audit files (default: of the configuration's, if there are any)")
    .option("--requests <file>", "calls of a file of request lines (- for stdin)")
    .option("--generate <count>", "calls made from what the policies say (the default without any other)")
    .option("--outbound", "generate calls that this app makes, not those that it gets")
    .option("--json", "as JSON")
    .action(
      act(async (before: string, after: string, options: import("./policy-diff.ts").DiffArguments) => {
        const { diff } = await import("./policy-diff.ts");
        return diff(before, after, options, io);
      }),
    );
  program
    .command("suggest")
    .description("the least-privilege policies that allow exactly the calls of an audit log")
    .argument("[files...]", "audit files, rotated ones too, - for stdin (default: those of the configuration)")
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

  program
    .command("sign")
    .description("sign a file of policies for sidecars that fetch it from a URL: writes <file>.sig")
    .argument("<file>", "as the server will answer it")
    .requiredOption("--key <file>", "Ed25519 private key in PEM")
    .requiredOption("--policy-version <number>", "higher than all before; sidecars take no lower one")
    .option("--name <name>", "as the configuration's name (default: the file's)")
    .action(
      act(async (file: string, options: import("./policy-sign.ts").SignArguments) => {
        const { sign } = await import("./policy-sign.ts");
        return sign(file, options, io);
      }),
    );

  try {
    return await parseCommand(program, argv, io, () => exitCode);
  } catch (error) {
    if (error instanceof CountersignErrors) {
      io.err(`${error.errors.map(formatError).join("\n")}\n`);
      return 2;
    }
    if (!(error instanceof CountersignError)) throw error;
    const fix = error.fix ?? errorCodes[error.code].fix;
    io.err(`${formatError(new CountersignError(error.code, error.message, { at: error.at, fix }))}\n`);
    return 2;
  }
}
