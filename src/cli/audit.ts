import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { CountersignErrors, formatError } from "../core/errors.ts";
import { tailAudit } from "./audit-tail.ts";
import type { CliIo } from "./cli-io.ts";
import { parseCommand } from "./parse-command.ts";

const DEFAULT_FILE = "audit.jsonl";

interface TailArguments {
  readonly follow?: true;
  readonly lines: number;
  readonly principal?: string;
  readonly decision?: string;
  readonly path?: string;
  readonly direction?: string;
  readonly json?: true;
  readonly config?: string;
}

/** `countersign audit tail`: the audit log, one readable line a record. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const program = new Command("countersign audit").description("read the audit log");
  program
    .command("tail")
    .description("the newest records, one readable line each (times in UTC)")
    .argument("[files...]", `audit files, rotated ones too (default: those of -c, or ${DEFAULT_FILE})`)
    .option("-c, --config <file>", "countersign.yaml: read the audit files that it names")
    .option("-f, --follow", "go on with records as they come, through rotations")
    .option("-n, --lines <count>", "how many records, or all", lineCount, 10)
    .option("--principal <glob>", "of the caller or the called, e.g. 'example.org/ns/shop/*'")
    .addOption(new Option("--decision <decision>", "only these").choices(["allow", "deny", "would-deny", "error"]))
    .option("--path <prefix>", "paths that begin so")
    .addOption(new Option("--direction <direction>", "only these").choices(["inbound", "outbound"]))
    .option("--json", "the records as they are, a JSON line each")
    .action(async (files: string[], options: TailArguments) => {
      exitCode = await tail(files, options, io);
    });
  return parseCommand(program, argv, io, () => exitCode);
}

async function tail(named: readonly string[], options: TailArguments, io: CliIo): Promise<number> {
  const files = await filesOf(named, options.config, io);
  if (typeof files === "string") {
    io.err(`countersign audit tail: ${files}\n`);
    return 2;
  }
  const { principal, decision, path, direction } = options;
  return tailAudit(
    files,
    {
      count: options.lines,
      follow: options.follow === true,
      json: options.json === true,
      filter: { principal, decision, path, direction },
    },
    io,
  );
}

/** The files to read, or what is wrong with the question. */
async function filesOf(named: readonly string[], config: string | undefined, io: CliIo): Promise<string[] | string> {
  if (named.length > 0) {
    if (config !== undefined) return "name files or -c, not both";
    return [...new Set(named.map((file) => resolve(io.cwd, file)))];
  }
  if (config !== undefined) {
    const { loadSidecarConfig } = await import("../config/load-sidecar-config.ts");
    try {
      const { audit } = (await loadSidecarConfig(resolve(io.cwd, config), io.env)).config;
      const files = audit.sinks.flatMap((sink) => (sink.kind === "file" ? [sink.path] : []));
      return files.length > 0 ? files : "that configuration writes no audit file; name one";
    } catch (error) {
      if (error instanceof CountersignErrors) return `\n${error.errors.map(formatError).join("\n")}`;
      throw error;
    }
  }
  const fallback = resolve(io.cwd, DEFAULT_FILE);
  return existsSync(fallback) ? [fallback] : `there is no ${DEFAULT_FILE} here: name a file, or -c countersign.yaml`;
}

function lineCount(text: string): number {
  if (text === "all") return Number.POSITIVE_INFINITY;
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("It is a whole number, or all.");
  return Number(text);
}
