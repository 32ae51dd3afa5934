/** Answers of a server, which a case may hold back until it has done something else. */
export interface Gate {
  /** How many are held back. */
  readonly held: number;
  /** From now on. */
  hold(): void;
  /** Answers at once, or when it is let go. */
  pass(answer: () => void): void;
  letGo(): void;
}

export function createGate(): Gate {
  let held: (() => void)[] | undefined;
  return {
    get held() {
      return held?.length ?? 0;
    },
    hold() {
      held ??= [];
    },
    pass(answer) {
      if (held === undefined) answer();
      else held.push(answer);
    },
    letGo() {
      const answers = held ?? [];
      held = undefined;
      for (const answer of answers) answer();
    },
  };
}
