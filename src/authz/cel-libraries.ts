import type { Environment } from "@marcbachmann/cel-js";
import type { RE2JS } from "re2js";

/** What conditions are written in. */
export interface CelLibraries {
  readonly Environment: typeof Environment;
  readonly RE2JS: typeof RE2JS;
}

let provided: CelLibraries | undefined;

/** Most sidecars have no conditions and should not pay 15 MB for them: who may meet some imports use-cel.ts, which calls this. */
export function provideCelLibraries(libraries: CelLibraries): void {
  provided = libraries;
}

/** Throws TypeError where nobody has provided them. */
export function celLibraries(): CelLibraries {
  if (provided === undefined) throw new TypeError("policies with conditions are loaded after use-cel.ts");
  return provided;
}

/** To be awaited before policies are loaded at once (loadPoliciesInTurns does it by itself). */
export async function readyForConditions(files: readonly { readonly text: string }[]): Promise<void> {
  if (files.some(({ text }) => text.includes("conditions"))) await provideConditions();
}

/** Loads what conditions are written in, if nobody has. */
export async function provideConditions(): Promise<void> {
  if (provided === undefined) await import("./use-cel.ts");
}
