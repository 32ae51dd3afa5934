import { resolve } from "node:path";
import { Command } from "commander";
import { loadSidecarConfig } from "../config/load-sidecar-config.ts";
import { CountersignErrors, formatError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";
import { examine } from "./doctor-examination.ts";
import { fileNamer, findingsAsJson, findingsAsText } from "./findings-report.ts";
import { parseCommand } from "./parse-command.ts";

interface DoctorArguments {
  readonly config: string;
  readonly peer: readonly string[];
  readonly dial: boolean;
  readonly json?: true;
}

/** `countersign doctor`: asks the identity source and the servers that a sidecar with this configuration would ask, and says
 *  what is wrong and how to mend it. 0: nothing, or only warnings; 1: something is wrong; 2: wrong usage, or a configuration
 *  that `check` refuses. Run it as the sidecar's user, since agents and keys tell users apart. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const program = new Command("countersign doctor")
    .description("what is wrong with a sidecar's identity: its source, its SVIDs and bundles, the servers it calls")
    .requiredOption("-c, --config <file>", "countersign.yaml")
    .option("--peer <file>", "countersign.yaml of a sidecar that calls this one; may be repeated", collect, [])
    .option("--no-dial", "do not connect to the servers of outbound")
    .option("--json", "as JSON")
    .action(async (options: DoctorArguments) => {
      exitCode = await doctor(options, io);
    });
  return parseCommand(program, argv, io, () => exitCode);
}

function collect(file: string, before: readonly string[]): readonly string[] {
  return [...before, file];
}

async function doctor({ config: file, peer, dial, json }: DoctorArguments, io: CliIo): Promise<number> {
  try {
    const load = (one: string) => loadSidecarConfig(resolve(io.cwd, one), io.env);
    const [loaded, ...peers] = await Promise.all([load(file), ...peer.map(load)]);
    const findings = await examine({ ...loaded, peers: peers.map(({ config }) => config), dial });
    const nameFile = fileNamer(file, io.cwd);
    io.out(json === true ? findingsAsJson(findings, nameFile) : findingsAsText(findings, nameFile, io.colour));
    return findings.errors.length > 0 ? 1 : 0;
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    io.err(`${error.errors.map(formatError).join("\n")}\n`);
    return 2;
  }
}
