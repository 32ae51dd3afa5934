import { once } from "node:events";
import type { ServerWritableStream } from "@grpc/grpc-js";
import type { Clock } from "../../core/clock.ts";
import { wakeAt } from "./wake-at.ts";

/** The whole state that a stream's client must have now. */
export interface Push<T> {
  readonly message: T;
  /** Nothing is sent while it stays the same. */
  readonly version: string;
  /** When to look again without being told; Infinity: never. */
  readonly nextAtMs: number;
}

export interface PushStreamOptions<T> {
  readonly compute: () => Promise<Push<T>>;
  /** Tells of changes. Returns the unsubscribe function. */
  readonly subscribe: (listener: () => void) => () => void;
  readonly clock: Clock;
  /** Ends the call with a status. `compute` threw. */
  readonly fail: (error: unknown) => void;
}

/** Serves one server stream of the Workload API: the state now, then again after each change or when its time has come.
 *  Changes that come while one is being sent are folded into one; a client that does not read is waited for.
 *  Returns a function that ends the pushes without ending the call. */
export function pushStream<T>(
  call: ServerWritableStream<unknown, T>,
  { compute, subscribe, clock, fail }: PushStreamOptions<T>,
): () => void {
  const stopped = new AbortController();
  let cancelWake = (): void => undefined;
  let sentVersion: string | undefined;
  let changed = false;
  let running = false;

  const look = (): void => {
    changed = true;
    if (!running) void run(); // catches its own errors
  };
  const unsubscribe = subscribe(look);
  const stop = (): void => {
    stopped.abort();
    cancelWake();
    unsubscribe();
  };

  async function run(): Promise<void> {
    running = true;
    try {
      while (changed && !stopped.signal.aborted) {
        changed = false;
        // oxlint-disable-next-line no-await-in-loop -- one state after the other
        await pushOnce();
      }
    } catch (error) {
      if (stopped.signal.aborted) return;
      stop();
      fail(error);
    } finally {
      running = false;
    }
  }

  async function pushOnce(): Promise<void> {
    const { message, version, nextAtMs } = await compute();
    // What changed meanwhile may have taken away what was just worked out: the caller of this looks again.
    if (stopped.signal.aborted || changed) return;
    cancelWake();
    if (nextAtMs !== Infinity) cancelWake = wakeAt(clock, nextAtMs, look);
    if (version === sentVersion) return;
    sentVersion = version;
    if (!call.write(message)) await once(call, "drain", { signal: stopped.signal });
  }

  call.once("cancelled", stop);
  look();
  return stop;
}
