// What the thread that compiles policies runs: its entry from source and in a bundle of its own; in the CLI's bundle bin.ts loads it.
import { constants, setPriority } from "node:os";
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { readyForConditions } from "../authz/cel-libraries.ts";
import { loadPackedPolicies } from "../authz/load-policies.ts";
import { CountersignErrors } from "../core/errors.ts";
import type { PolicyThreadAnswer, PolicyThreadStart } from "./policy-thread.ts";
import { dropExperimentalWarnings } from "./start.ts";

if (!isMainThread && parentPort !== null) {
  dropExperimentalWarnings();
  // Linux gives each thread a priority of its own: calls come first.
  if (process.platform === "linux") setPriority(constants.priority.PRIORITY_LOW);
  const { files, options } = workerData as PolicyThreadStart;
  await readyForConditions(files);
  parentPort.postMessage(compile());

  function compile(): PolicyThreadAnswer {
    try {
      return { kind: "compiled", ...loadPackedPolicies(files, options) };
    } catch (error) {
      if (!(error instanceof CountersignErrors)) throw error;
      return {
        kind: "invalid",
        errors: error.errors.map(({ code, message, at, fix }) => ({ code, message, at, fix })),
      };
    }
  }
}
