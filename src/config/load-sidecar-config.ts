import { dirname, resolve } from "node:path";
import { CountersignError, CountersignErrors, type Warning } from "../core/errors.ts";
import type { Environment } from "./environment.ts";
import { readTextFile } from "./read-text-file.ts";
import type { SidecarConfig } from "./sidecar-config.ts";
import { sidecarShape } from "./sidecar-shape.ts";
import { readYaml } from "./yaml-shape.ts";

export const MAX_CONFIG_BYTES = 1024 * 1024;

export interface LoadedSidecarConfig {
  readonly config: SidecarConfig;
  readonly warnings: readonly Warning[];
  /** The file as it was read: what a watch of it compares with. */
  readonly text: string;
}

/** Reads and checks countersign.yaml. Touches that one file and nothing else: no agent, no network.
 *  Throws CountersignErrors with everything that is wrong, each with its place. */
export async function loadSidecarConfig(file: string, environment: Environment): Promise<LoadedSidecarConfig> {
  let text: string;
  try {
    text = await readTextFile(file, MAX_CONFIG_BYTES);
  } catch (error) {
    if (error instanceof CountersignError) throw new CountersignErrors([error]);
    throw error;
  }
  return parseSidecarConfig(text, file, environment);
}

/** The same for a text that is already read. Positions name `file` as it is given here; relative paths start at its
 *  folder. Throws CountersignErrors. */
export function parseSidecarConfig(text: string, file: string, environment: Environment): LoadedSidecarConfig {
  const absolute = resolve(file);
  const { value, warnings } = readYaml(sidecarShape, text, { file, folder: dirname(absolute) }, environment);
  return { config: { file: absolute, ...value }, warnings, text };
}
