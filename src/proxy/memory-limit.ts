import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export interface MemoryLimitOptions {
  /** Octets resident; 0: no limit. Asked each time. */
  readonly limit: () => number;
  /** Passed the limit (true), or fell well below it again. */
  readonly onChange: (isOver: boolean, bytes: number) => void;
  /** Octets resident now. */
  readonly resident?: () => number;
  readonly collect?: () => void;
}

const LOOK_MS = 100;
/** Below this share of the limit work is taken again. */
const WELL_BELOW = 0.95;
/** Looks between two collections. */
const COLLECT_EVERY = 50;

/** Watches the process's memory. Beyond the limit garbage is collected now and then: a process that turns all work away allocates too
 *  little for its collector to see a reason. */
export function watchMemory(options: MemoryLimitOptions): { look(): void; close(): void } {
  const { limit, onChange, resident = () => process.memoryUsage.rss(), collect = collectGarbage } = options;
  let isOver = false;
  let looks = 0;
  const look = (): void => {
    const most = limit();
    if (most === 0 && !isOver) return;
    const bytes = resident();
    if (isOver) {
      if (most > 0 && bytes > most * WELL_BELOW) {
        looks++;
        if (looks % COLLECT_EVERY === 0) collect();
        return;
      }
      isOver = false;
      onChange(false, bytes);
    } else if (bytes > most) {
      isOver = true;
      looks = 0;
      onChange(true, bytes);
      collect();
    }
  };
  const timer = setInterval(look, LOOK_MS);
  timer.unref();
  return { look, close: () => clearInterval(timer) };
}

let collector: (() => void) | undefined;

/** Node offers its collector only under a flag, which can be set while it runs. */
function collectGarbage(): void {
  if (collector === undefined) {
    setFlagsFromString("--expose-gc");
    const found: unknown = runInNewContext("gc");
    collector = typeof found === "function" ? (found as () => void) : () => undefined;
  }
  collector();
}
