import type { CountersignError } from "../core/errors.ts";
import type { SourceFile } from "./policy-source.ts";

/** How a source of policies stands, for status and metrics. */
export interface PolicySourceState {
  /** The URL, or what else people know it by. */
  readonly name: string;
  /** When its content was last known to be the newest; milliseconds since the epoch. */
  readonly confirmedAtMs: number;
  /** Of signed content. */
  readonly version: number | undefined;
  /** Why nothing newer can be had, or what there is is too old. The last good set stays in force. */
  readonly problem: CountersignError | undefined;
}

/** Policies from somewhere that can say when they change: a URL, or a list-and-watch of the Kubernetes API. A source hands over whole sets,
 *  never differences, and only what it has verified; whether a set is valid is decided by whoever compiles it together with the others. */
export interface OpenedPolicySource {
  /** What it had when it was opened. */
  readonly files: readonly SourceFile[];
  readonly state: PolicySourceState;
  /** These files are in force. If they are the source's newest, it keeps them over restarts. Rejects with CountersignError when that
   *  fails. */
  keep(inForce: readonly SourceFile[]): Promise<void>;
  /** Begins to watch, once. `onChange` gets each new set; `onState` is called after each look, with or without
   *  success. */
  watch(watcher: PolicySourceWatcher): {
    /** Looks now (SIGHUP). Resolves after the look; never rejects. */
    reloadNow(): Promise<void>;
  };
}

export interface PolicySourceWatcher {
  readonly onChange: (files: readonly SourceFile[]) => void;
  readonly onState: () => void;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}
