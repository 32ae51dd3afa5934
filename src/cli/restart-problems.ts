import { isDeepStrictEqual } from "node:util";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { CountersignError } from "../core/errors.ts";

const NEEDS_RESTART = ["workers", "admin", "audit"] as const;

/** The changes of a new configuration that only a restart can make: the reload is refused whole rather than taken in part. */
export function restartProblems(current: SidecarConfig, next: SidecarConfig): CountersignError[] {
  return NEEDS_RESTART.filter((key) => !isDeepStrictEqual(current[key], next[key])).map(
    (key) =>
      new CountersignError("E_CONFIG_RESTART", `${key} cannot be changed by a reload`, { at: { file: next.file } }),
  );
}
