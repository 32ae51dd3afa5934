import type { Clock } from "../core/clock.ts";

const MAX_DELAY_MS = 2 ** 31 - 1;

/** The machine's clock. A delay beyond what setTimeout takes (24.8 days) is waited for in steps. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, fn) {
    let timer: NodeJS.Timeout;
    const arm = (left: number): void => {
      const step = Math.min(Math.max(left, 0), MAX_DELAY_MS);
      timer = setTimeout(() => (left > step ? arm(left - step) : fn()), step);
      timer.unref();
    };
    arm(delayMs);
    return () => clearTimeout(timer);
  },
};
