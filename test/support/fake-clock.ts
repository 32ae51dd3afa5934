import type { Clock } from "../../src/core/clock.ts";

export interface FakeClock extends Clock {
  /** Moves time on and runs the timers that fall due, in order. */
  advance(ms: number): void;
  /** Number of timers waiting. */
  readonly pending: number;
}

export function fakeClock(startMs = Date.UTC(2030, 0, 1)): FakeClock {
  let now = startMs;
  let timers: { at: number; fn: () => void }[] = [];
  return {
    nowMs: () => now,
    monotonicMs: () => now - startMs,
    after(delayMs, fn) {
      const timer = { at: now + Math.max(0, delayMs), fn };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    advance(ms) {
      const end = now + ms;
      for (;;) {
        const due = timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
        if (due === undefined) break;
        timers = timers.filter((other) => other !== due);
        now = Math.max(now, due.at);
        due.fn();
      }
      now = end;
    },
    get pending() {
      return timers.length;
    },
  };
}
