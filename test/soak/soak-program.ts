import type { Children } from "../../bench/processes.ts";
import type { Checks } from "./checks.ts";

export interface SoakContext {
  /** A folder that goes when the program ends. */
  readonly dir: string;
  readonly children: Children;
  readonly checks: Checks;
  readonly signal: AbortSignal;
}

/** Runs its checks; `argv` is what follows its name. Throws when it could not run at all. */
export type SoakProgram = (context: SoakContext, argv: readonly string[]) => Promise<void>;
