import { isAbsolute, resolve } from "node:path";
import { Command } from "commander";
import { unixAddress } from "../config/yaml-addresses.ts";
import { errorCodes } from "../core/error-codes.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import { asciiJson } from "../core/safe-text.ts";
import type { CliIo } from "./cli-io.ts";
import { fetchStatus } from "./fetch-status.ts";
import { parseCommand } from "./parse-command.ts";
import { formatStatus } from "./status-view.ts";

const DEFAULT_SOCKET = "/run/countersign/admin.sock";

interface StatusArguments {
  readonly config?: string;
  readonly admin?: string;
  readonly json?: true;
}

/** `countersign status`: what a running sidecar says of itself. 0: it is ready; 1: it is not, or does not answer; 2: wrong usage. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const program = new Command("countersign status")
    .description("identity, listeners, policy and audit of a running sidecar; exit code 0 only if it is ready")
    .option("-c, --config <file>", "countersign.yaml: ask the sidecar that runs with it")
    .option("--admin <address>", `its admin socket (default: $COUNTERSIGN_ADMIN, else unix://${DEFAULT_SOCKET})`)
    .option("--json", "as JSON")
    .action(async (options: StatusArguments) => {
      exitCode = await status(options, io);
    });
  return parseCommand(program, argv, io, () => exitCode);
}

async function status(options: StatusArguments, io: CliIo): Promise<number> {
  const socket = await socketOf(options, io);
  if ("problem" in socket) {
    io.err(`countersign status: ${socket.problem}\n`);
    return 2;
  }
  try {
    const document = await fetchStatus(socket.path);
    io.out(options.json === true ? `${asciiJson(JSON.stringify(document))}\n` : formatStatus(document, io.colour));
    return document.ready ? 0 : 1;
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    const { code, message, fix = errorCodes.E_STATUS_UNREACHABLE.fix } = error;
    if (options.json === true)
      io.out(`${asciiJson(JSON.stringify({ ready: false, reasons: [{ code, message, fix }] }))}\n`);
    else io.err(`${formatError(new CountersignError(code, message, { fix }))}\n`);
    return 1;
  }
}

async function socketOf(
  { config, admin }: StatusArguments,
  io: CliIo,
): Promise<{ readonly path: string } | { readonly problem: string }> {
  if (config !== undefined) {
    if (admin !== undefined) return { problem: "give -c or --admin, not both" };
    const { loadSidecarConfig } = await import("../config/load-sidecar-config.ts");
    try {
      const address = (await loadSidecarConfig(resolve(io.cwd, config), io.env)).config.admin;
      return address?.kind === "unix"
        ? { path: address.path }
        : { problem: `${config} has no admin socket; add admin: { listen: unix:///path } and restart the sidecar` };
    } catch (error) {
      if (error instanceof CountersignErrors) return { problem: `\n${error.errors.map(formatError).join("\n")}` };
      throw error;
    }
  }
  const fromEnvironment = io.env["COUNTERSIGN_ADMIN"];
  const text = admin ?? (fromEnvironment === undefined || fromEnvironment === "" ? DEFAULT_SOCKET : fromEnvironment);
  const address = unixAddress(isAbsolute(text) ? `unix://${text}` : text);
  if ("kind" in address) return { path: address.path };
  const where = admin === undefined ? "COUNTERSIGN_ADMIN" : "--admin";
  return { problem: `${where} ${JSON.stringify(text)} is no Unix socket; write unix:///path` };
}
