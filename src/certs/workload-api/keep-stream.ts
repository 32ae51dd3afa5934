import type { Clock } from "../../core/clock.ts";
import { CountersignError } from "../../core/errors.ts";
import type { HangUp, StreamHandlers } from "./workload-api-client.ts";

export interface KeepStreamOptions<T> {
  readonly open: (handlers: StreamHandlers<T>) => HangUp;
  readonly address: string;
  readonly clock: Clock;
  /** Returns whether the message was good: only then does the back-off begin anew. */
  readonly onMessage: (message: T) => boolean;
  /** Names what is at the address now: another text while a retry waits means that an agent has come, and ends the wait. */
  readonly whatIsThere?: () => string;
  /** The stream ended, or has been silent from its beginning. It is opened again, unless the code is E_WORKLOAD_API_REFUSED. */
  readonly onProblem: (problem: CountersignError) => void;
}

/** A stream of the Workload API that is kept open. */
export interface KeptStream {
  /** Hangs up and dials at once, unless a retry is waiting or nothing is to be tried any more. */
  redial(): void;
  close(): void;
}

const BACKOFF_STEP_MS = 1_000;
const BACKOFF_LIMIT_MS = 30_000;
/** How often a waiting retry looks whether an agent has come. */
const LOOK_MS = 500;
/** An agent sends the state at once: one that takes a call and says nothing has hung. */
const SILENCE_MS = 60_000;

/** Opens a stream and opens it again after 1, 2, … 30 s whenever it ends; a good message starts the back-off over. */
export function keepStream<T>(options: KeepStreamOptions<T>): KeptStream {
  const { open, address, clock, onMessage, onProblem, whatIsThere = () => "" } = options;
  let failures = 0;
  let hangUp: HangUp = () => undefined;
  let cancelRetry: () => void = () => undefined;
  let cancelSilence: () => void = () => undefined;
  let isOpen = false;
  let isClosed = false;

  const dial = (): void => {
    isOpen = true;
    cancelSilence = clock.after(SILENCE_MS, () => {
      hangUp();
      const seconds = SILENCE_MS / 1000;
      ended(new CountersignError("E_WORKLOAD_API_UNAVAILABLE", `${address} has not answered for ${seconds} s`));
    });
    hangUp = open({
      onMessage(message) {
        cancelSilence();
        if (onMessage(message)) failures = 0;
      },
      onEnd: ended,
    });
  };

  const ended = (problem: CountersignError): void => {
    cancelSilence();
    isOpen = false;
    if (isClosed) return;
    onProblem(problem);
    if (problem.code === "E_WORKLOAD_API_REFUSED") return;
    failures++;
    waitToRetry(Math.min(failures * BACKOFF_STEP_MS, BACKOFF_LIMIT_MS), whatIsThere());
  };

  const waitToRetry = (leftMs: number, before: string): void => {
    if (leftMs <= LOOK_MS) {
      cancelRetry = clock.after(leftMs, dial);
      return;
    }
    cancelRetry = clock.after(LOOK_MS, () => {
      if (whatIsThere() === before) waitToRetry(leftMs - LOOK_MS, before);
      else {
        failures = 0;
        dial();
      }
    });
  };

  dial();
  return {
    redial() {
      if (!isOpen || isClosed) return;
      cancelSilence();
      hangUp();
      dial();
    },
    close() {
      isClosed = true;
      cancelRetry();
      cancelSilence();
      hangUp();
    },
  };
}
