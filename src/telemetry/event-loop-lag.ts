import { monitorEventLoopDelay } from "node:perf_hooks";

/** Delay of one thread's event loop over some time, seconds. */
export interface EventLoopLag {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface LagMeter {
  /** Since the last look. */
  take(): EventLoopLag;
  close(): void;
}

const RESOLUTION_MS = 20;
const NS_PER_S = 1e9;

/** Watches the event loop of this thread. */
export function createLagMeter(): LagMeter {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  // The sampler waits for its own interval between two samples: what is beyond it is delay.
  const beyond = (ns: number): number => Math.max(0, ns / NS_PER_S - RESOLUTION_MS / 1000);
  return {
    take() {
      const lag = {
        p50: beyond(delay.percentile(50)),
        p99: beyond(delay.percentile(99)),
        max: delay.count > 0 ? beyond(delay.max) : 0,
      };
      delay.reset();
      return lag;
    },
    close: () => void delay.disable(),
  };
}
