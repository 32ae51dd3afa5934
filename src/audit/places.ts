/** A bounded number of places for records. A place is taken before the record exists, and free once every sink has it. */
export interface Places {
  readonly capacity: number;
  readonly used: number;
  /** False when all are taken. */
  take(): boolean;
  free(count: number): void;
}

/** Places that one thread uses alone. Throws TypeError for less than one. */
export function createPlaces(capacity: number): Places {
  if (!Number.isSafeInteger(capacity) || capacity < 1) throw new TypeError("an audit queue needs at least one place");
  let used = 0;
  return {
    capacity,
    get used() {
      return used;
    },
    take() {
      if (used >= capacity) return false;
      used++;
      return true;
    },
    free(count) {
      used -= count;
    },
  };
}
