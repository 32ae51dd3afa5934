import type { Clock } from "../core/clock.ts";
import type { IdentitySource } from "../core/identity.ts";
import { createFilesSource, type FilesSourceOptions } from "./files-source.ts";
import type { IdentityLog } from "./identity-log.ts";
import { createWorkloadApiSource, type WorkloadApiOptions } from "./workload-api/client-source.ts";

/** identity of the configuration: exactly one source. */
export type IdentitySourceOptions =
  | ({ readonly kind: "workloadApi" } & WorkloadApiOptions)
  | ({ readonly kind: "files" } & FilesSourceOptions);

/** Starts the configured source. Throws CountersignError E_WORKLOAD_API_ADDRESS; whatever else fails is in the source's
 *  state and in the log. */
export function createIdentitySource(options: IdentitySourceOptions, clock: Clock, log: IdentityLog): IdentitySource {
  switch (options.kind) {
    case "files":
      return createFilesSource(options, clock, log);
    case "workloadApi":
      return createWorkloadApiSource(options, clock, log);
  }
}
