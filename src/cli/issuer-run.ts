import { once } from "node:events";
import { resolve } from "node:path";
import type { RunningIssuer } from "../certs/issuer/start-issuer.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import type { CliIo } from "./cli-io.ts";
import { errorLines, type LoadedIssuerConfig, loadIssuer } from "./issuer-file.ts";

/** `countersign issuer run`: serves until stopped. */
export async function runIssuer(file: string, io: CliIo): Promise<number> {
  const loaded = await loadIssuer(file, io);
  if (loaded === undefined) return 2;
  const { config } = loaded;
  const [pinoModule, { loadIssuerConfig }, { startIssuer }, { createPeerCredentialsReader }, { systemClock }, audits] =
    await Promise.all([
      import("pino"),
      import("../certs/issuer/issuer-config.ts"),
      import("../certs/issuer/start-issuer.ts"),
      import("../sys/local-peer.ts"),
      import("../sys/system-clock.ts"),
      import("../audit/audit-log.ts"),
    ]);
  const { pino } = pinoModule;
  const log = pino(
    { level: config.logLevel, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
  const logWarnings = ({ warnings }: LoadedIssuerConfig): void => {
    for (const warning of warnings) log.warn({ event: "config.warning", warning: formatError(warning) });
  };
  logWarnings(loaded);

  await using running = new AsyncDisposableStack();
  const { lockAuditFiles } = await import("./lock-audit-files.ts");
  running.defer(lockAuditFiles(config.audit.sinks.flatMap((sink) => (sink.kind === "file" ? [sink.path] : []))));
  const audit = audits.createAuditLog(config.audit, systemClock, log);
  running.defer(() => audit.close());
  await audit.opened;
  const { promise: started, resolve: start } = Promise.withResolvers<RunningIssuer>();

  const reload = async (issuer: RunningIssuer): Promise<void> => {
    try {
      const next = await loadIssuerConfig(resolve(io.cwd, file), io.env);
      logWarnings(next);
      issuer.reload(next.config);
    } catch (error) {
      const known = error instanceof CountersignErrors || error instanceof CountersignError;
      const errors = known ? errorLines(error) : [String(error)];
      log.error({ event: "entries.rejected", errors, kept: "the entries from before" });
    }
  };
  let reloading = Promise.resolve();
  const onHangup = (): void => {
    // One after the other, the last file wins; one that comes during the start waits for its end.
    reloading = reloading.then(async () => reload(await started));
  };
  process.on("SIGHUP", onHangup);
  running.defer(() => void process.removeListener("SIGHUP", onHangup));
  const issuer = await startIssuer(config, {
    clock: systemClock,
    log,
    peers: createPeerCredentialsReader(systemClock),
    audit: {
      get problem() {
        return config.audit.onFailure === "block" ? audit.state.problem : undefined;
      },
      event: (event) => audit.event(event),
    },
  });
  running.defer(() => issuer.close());
  start(issuer);
  if (!io.signal.aborted) await once(io.signal, "abort");
  await reloading;
  return 0;
}
