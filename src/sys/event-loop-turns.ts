/** Long work in turns of the event loop: the time that a turn has had, and a way to let other work happen before the next. */
export const eventLoopTurns = {
  /** Milliseconds; only differences count. */
  nowMs: (): number => performance.now(),
  /** Resolves in the next turn. */
  pause: (): Promise<void> => new Promise((resolve) => void setImmediate(resolve)),
} as const;
