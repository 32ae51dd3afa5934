import type { CountersignError, CountersignErrors } from "../core/errors.ts";
import type { SourceFile } from "./policy-source.ts";

/** A whole set of one source, verified. Whether it is valid is decided by whoever compiles it together with those of the others. */
export interface PolicyOffer {
  readonly files: readonly SourceFile[];
  /** It is in force: what the source falls back to. */
  accept(): void;
  /** It is not, for these errors. */
  refuse(errors: CountersignErrors): void;
}

/** What can come into force of a source. */
export interface PolicyCandidates {
  readonly newest: PolicyOffer;
  /** What is in force, or was when it was kept; undefined: nothing yet. */
  readonly lastGood: PolicyOffer | undefined;
}

/** How a source of policies stands, for status and metrics. */
export interface PolicySourceState {
  /** The URL, or what else people know it by. */
  readonly name: string;
  /** When what is in force was last known to be the newest; milliseconds since the epoch. */
  readonly confirmedAtMs: number;
  /** Of what is in force, if it is signed. */
  readonly version: number | undefined;
  /** The first 16 hexadecimal digits of the SHA-256 of what is in force. */
  readonly digest: string;
  /** What the source has instead; undefined: that is in force. */
  readonly newest:
    | {
        readonly version: number | undefined;
        readonly digest: string;
        /** Why it is not in force; undefined: it is about to be tried. */
        readonly refused: CountersignErrors | undefined;
      }
    | undefined;
  /** Why nothing newer can be had, or what there is is too old. The last good set stays in force. */
  readonly problem: CountersignError | undefined;
  /** Why the last good set is not kept, or what was kept could not be used (E_POLICY_KEPT). */
  readonly keepProblem: CountersignError | undefined;
}

/** Policies from somewhere that can say when they change: a URL, or a list-and-watch of the Kubernetes API. A source hands over whole sets,
 *  never differences, and only what it has verified. */
export interface OpenedPolicySource extends PolicyCandidates {
  readonly state: PolicySourceState;
  /** Why its newest is not in force. */
  readonly refused: CountersignErrors | undefined;
  /** Keeps what is in force over restarts, unless that is done. Never rejects: the state says what went wrong. */
  keep(): Promise<void>;
  /** Begins to watch, once. `onChange` says that there is another newest set; `onState` is called after each look, with or without
   *  success. */
  watch(watcher: PolicySourceWatcher): {
    /** Looks now (SIGHUP). Resolves after the look; never rejects. */
    reloadNow(): Promise<void>;
  };
}

export interface PolicySourceWatcher {
  readonly onChange: () => void;
  readonly onState: () => void;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}
