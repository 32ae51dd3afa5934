import type { CallOutcome } from "../core/call-outcome.ts";
import type { Places } from "./places.ts";
import type { AuditEvent } from "./serialise-record.ts";

/** Different (direction, listener, code) that are counted apart; beyond it everything is one count. */
const MAX_FOLDS = 64;

interface Fold {
  readonly direction: "inbound" | "outbound" | undefined;
  readonly listener: string | undefined;
  readonly reason: string;
  readonly decision: CallOutcome["decision"] | undefined;
  count: number;
}

/** Refusals have a bounded queue of their own, so that strangers cannot take the calls' places. What does not fit is counted
 *  by listener and code; memory is bounded however long a flood lasts. */
export interface RefusalQueue {
  /** Waiting or being written. */
  readonly used: number;
  readonly waiting: number;
  /** Refusals that were folded into counts since the start. */
  readonly folded: number;
  readonly hasFolds: boolean;
  add(outcome: CallOutcome): void;
  take(): CallOutcome | undefined;
  free(count: number): void;
  /** The counts so far, which start anew. */
  takeFolds(): AuditEvent[];
}

export function createRefusalQueue(places: Places): RefusalQueue {
  let waiting: CallOutcome[] = [];
  let next = 0;
  let folded = 0;
  let folds = new Map<string, Fold>();

  function fold(outcome: CallOutcome): void {
    folded++;
    const { direction, listener } = outcome.connection;
    const { decision, reason = "unknown" } = outcome;
    let key = `${direction} ${listener} ${decision} ${reason}`;
    let found = folds.get(key);
    if (found === undefined) {
      const others = folds.size >= MAX_FOLDS;
      if (others) key = "";
      found = others ? folds.get(key) : undefined;
      if (found === undefined) {
        found = others
          ? { direction: undefined, listener: undefined, reason: "several", decision: undefined, count: 0 }
          : { direction, listener, reason, decision, count: 0 };
        folds.set(key, found);
      }
    }
    found.count++;
  }
  return {
    get used() {
      return places.used;
    },
    get waiting() {
      return waiting.length - next;
    },
    get folded() {
      return folded;
    },
    get hasFolds() {
      return folds.size > 0;
    },
    add(outcome) {
      if (!places.take()) return fold(outcome);
      waiting.push(outcome);
    },
    take() {
      const outcome = waiting[next];
      if (outcome === undefined) return undefined;
      next++;
      if (next === waiting.length) {
        waiting = [];
        next = 0;
      }
      return outcome;
    },
    free: (count) => places.free(count),
    takeFolds() {
      const events = Array.from(
        folds.values(),
        ({ direction, listener, reason, decision, count }): AuditEvent => ({
          kind: "refusal",
          direction,
          listener,
          reason,
          decision,
          count,
          detail: "refusals beyond the queue, counted instead of listed",
        }),
      );
      folds = new Map();
      return events;
    },
  };
}
