// What a worker thread of `countersign run` runs: from source it is the thread's entry, in the bundle bin.ts loads it.
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import type { FromWorker, WorkerStart } from "../proxy/workers/messages.ts";
import { problemsOf, runWorkerSidecar } from "../proxy/workers/worker-sidecar.ts";
import { createLogger } from "../telemetry/logger.ts";
import { dropExperimentalWarnings } from "./start.ts";

if (!isMainThread && parentPort !== null) {
  dropExperimentalWarnings();
  const start = workerData as WorkerStart;
  const log = createLogger(start.config.logLevel);
  log.setBindings({ worker: start.worker + 1 });
  try {
    const { flushAudit } = await runWorkerSidecar(start, parentPort, log);
    // what ends the thread must not take the records of calls that have ended with it
    process.on("uncaughtExceptionMonitor", flushAudit);
  } catch (error) {
    parentPort.postMessage({ kind: "failed", problems: problemsOf(error) } satisfies FromWorker);
  }
}
