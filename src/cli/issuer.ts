import { once } from "node:events";
import { resolve } from "node:path";
import { Command, CommanderError, Option } from "commander";
import { loadIssuerConfig } from "../certs/issuer/issuer-config.ts";
import { formatSelector } from "../certs/issuer/selectors.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";

type LoadedConfig = Awaited<ReturnType<typeof loadIssuerConfig>>;

/** `countersign issuer run | entries | bundle`: the embedded SPIFFE identity provider of one machine. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const program = new Command("countersign issuer")
    .description("the embedded SPIFFE identity provider of one machine")
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err });
  const subcommand = (name: string, description: string): Command =>
    program.command(name).description(description).requiredOption("-c, --config <file>", "issuer.yaml");

  subcommand("run", "serve the SPIFFE Workload API; SIGHUP reloads entries, SIGTERM stops").action(
    async ({ config }: { config: string }) => {
      exitCode = await serve(config, io);
    },
  );
  subcommand("entries", "list who gets which SPIFFE ID")
    .option("--json", "as JSON")
    .action(async ({ config, json }: { config: string; json?: true }) => {
      exitCode = await listEntries(config, json === true, io);
    });
  subcommand("bundle", "print what verifiers of the trust domain must trust")
    .addOption(
      new Option("--format <format>", "PEM certificates, or a SPIFFE bundle with JWT keys")
        .choices(["pem", "jwks"])
        .default("pem"),
    )
    .action(async ({ config, format }: { config: string; format: "pem" | "jwks" }) => {
      exitCode = await printBundle(config, format, io);
    });

  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return exitCode;
}

/** undefined: it has errors, which are printed. */
async function load(file: string, io: CliIo): Promise<LoadedConfig | undefined> {
  try {
    return await loadIssuerConfig(resolve(io.cwd, file), io.env);
  } catch (error) {
    io.err(`${linesOf(error).join("\n")}\n`);
    return undefined;
  }
}

/** An error that people can act on, a line each; anything else goes on. */
function linesOf(error: unknown): readonly string[] {
  if (error instanceof CountersignErrors) return error.errors.map(formatError);
  if (error instanceof CountersignError) return [formatError(error)];
  throw error;
}

async function serve(file: string, io: CliIo): Promise<number> {
  const loaded = await load(file, io);
  if (loaded === undefined) return 2;
  const [{ pino }, { startIssuer }, { createPeerCredentialsReader }, { systemClock }] = await Promise.all([
    import("pino"),
    import("../certs/issuer/start-issuer.ts"),
    import("../sys/local-peer.ts"),
    import("../sys/system-clock.ts"),
  ]);
  const log = pino(
    { level: loaded.config.logLevel, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
  const logWarnings = ({ warnings }: LoadedConfig): void => {
    for (const warning of warnings) log.warn({ event: "config.warning", warning: formatError(warning) });
  };
  logWarnings(loaded);
  const issuer = await startIssuer(loaded.config, {
    clock: systemClock,
    log,
    peers: createPeerCredentialsReader(systemClock),
  });

  const reload = async (): Promise<void> => {
    try {
      const next = await loadIssuerConfig(resolve(io.cwd, file), io.env);
      logWarnings(next);
      issuer.reload(next.config);
    } catch (error) {
      const known = error instanceof CountersignErrors || error instanceof CountersignError;
      const errors = known ? linesOf(error) : [String(error)];
      log.error({ event: "entries.rejected", errors, kept: "the entries from before" });
    }
  };
  let reloading = Promise.resolve();
  const onHangup = (): void => {
    reloading = reloading.then(reload); // one after the other, the last file wins
  };
  process.on("SIGHUP", onHangup);
  try {
    if (!io.signal.aborted) await once(io.signal, "abort");
    await reloading;
  } finally {
    process.removeListener("SIGHUP", onHangup);
    await issuer.close();
  }
  return 0;
}

async function listEntries(file: string, json: boolean, io: CliIo): Promise<number> {
  const loaded = await load(file, io);
  if (loaded === undefined) return 2;
  const entries = loaded.config.entries.map(({ id, selectors, hint }) => ({
    id,
    selectors: selectors.map(formatSelector),
    hint,
  }));
  for (const warning of loaded.warnings) io.err(`${formatError(warning)}\n`);
  if (json) {
    io.out(`${JSON.stringify({ entries }, undefined, 2)}\n`);
    return 0;
  }
  for (const { id, selectors, hint } of entries)
    io.out(`${id}  ${selectors.join(" ")}${hint === "" ? "" : `  hint ${JSON.stringify(hint)}`}\n`);
  return 0;
}

async function printBundle(file: string, format: "pem" | "jwks", io: CliIo): Promise<number> {
  const loaded = await load(file, io);
  if (loaded === undefined) return 2;
  const [{ readState }, { spiffeBundleJson, x509BundlePem, withoutExpired }] = await Promise.all([
    import("../certs/issuer/state-store.ts"),
    import("../certs/issuer/trust-bundle.ts"),
  ]);
  const { stateFolder, trustDomain } = loaded.config;
  const authorities = withoutExpired(readState(stateFolder, trustDomain), Date.now());
  io.out(format === "pem" ? x509BundlePem(authorities) : `${spiffeBundleJson(authorities)}\n`);
  return 0;
}
