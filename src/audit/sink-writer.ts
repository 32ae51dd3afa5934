import type { Clock } from "../core/clock.ts";
import type { Sink } from "./sink.ts";

const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 2000;
/** A write that takes longer makes the sink count as broken until it returns. */
const STALL_MS = 2000;
const NOTHING = Buffer.alloc(0);

/** Serialised records on their way to the sinks. */
export interface Batch {
  readonly bytes: Buffer;
  readonly length: number;
  /** Records by the queue that their places belong to. */
  readonly calls: number;
  readonly refusals: number;
  readonly others: number;
  /** Sinks that still have to write it. */
  missing: number;
}

/** Feeds one sink, batch by batch, and retries with back-off for as long as it fails. */
export interface SinkWriter {
  readonly name: string;
  /** Batches not written yet. */
  readonly pending: number;
  /** Why the sink is broken, or undefined when it works. */
  readonly problem: string | undefined;
  /** Resolves after the first attempt, whether it worked or not. */
  readonly tried: Promise<void>;
  add(batch: Batch): void;
  /** Gives up all batches but the one at work, which may be written in part, and returns them. */
  shed(): Batch[];
  /** Tries a broken sink at once instead of at its next turn. */
  kick(): void;
  /** Stops retrying and closes the sink. */
  close(): Promise<void>;
}

export function startSinkWriter(
  sink: Sink,
  clock: Clock,
  events: { readonly written: (batch: Batch) => void; readonly health: (writer: SinkWriter) => void },
): SinkWriter {
  const pending: Batch[] = [];
  let problem: string | undefined;
  let running = false;
  let closed = false;
  let wake: (() => void) | undefined;
  const first = Promise.withResolvers<void>();

  function become(next: string | undefined): void {
    if (next === problem) return;
    problem = next;
    events.health(writer);
  }
  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = clock.after(ms, resolve);
      wake = () => {
        cancel();
        resolve();
      };
    });
  }
  async function attempt(batch: Batch | undefined): Promise<boolean> {
    const cancelStall = clock.after(STALL_MS, () => become(`${sink.name} has taken nothing for ${STALL_MS / 1000} s`));
    try {
      await sink.write(batch?.bytes ?? NOTHING, batch?.length ?? 0);
      become(undefined);
      return true;
    } catch (error) {
      become(`${sink.name}: ${error instanceof Error ? error.message : String(error)}`);
      return false;
    } finally {
      cancelStall();
      first.resolve();
    }
  }
  async function run(): Promise<void> {
    running = true;
    let retryMs = FIRST_RETRY_MS;
    // The first turn has nothing to write: it finds a broken sink before a call depends on it.
    do {
      const batch = pending[0];
      if (await attempt(batch)) {
        retryMs = FIRST_RETRY_MS;
        if (batch !== undefined) {
          pending.shift();
          events.written(batch);
        }
      } else if (!closed) {
        await pause(retryMs);
        wake = undefined;
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    } while (!closed && (pending.length > 0 || problem !== undefined));
    running = false;
  }
  const writer: SinkWriter = {
    name: sink.name,
    get pending() {
      return pending.length;
    },
    get problem() {
      return problem;
    },
    tried: first.promise,
    add(batch) {
      pending.push(batch);
      if (!running && !closed) void run(); // never rejects: attempt() catches
    },
    shed: () => pending.splice(1),
    kick: () => wake?.(),
    async close() {
      closed = true;
      wake?.();
      await sink.close();
    },
  };
  void run(); // as above
  return writer;
}
