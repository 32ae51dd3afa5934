import type { Clock } from "../../core/clock.ts";

const MAX_STEP_MS = 30_000;

/** Calls `fn` once when the wall clock has reached `atMs`; the returned function cancels it. In steps: timers stand
 *  still while a machine sleeps, and what is issued expires by the wall clock. */
export function wakeAt(clock: Clock, atMs: number, fn: () => void): () => void {
  let cancel: () => void;
  const arm = (): void => {
    const left = atMs - clock.nowMs();
    cancel = clock.after(Math.min(Math.max(left, 0), MAX_STEP_MS), () => (clock.nowMs() >= atMs ? fn() : arm()));
  };
  arm();
  return () => cancel();
}
