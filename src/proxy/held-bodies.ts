/** Of all calls of a thread together, bytes. */
const MOST_BYTES = 64 * 1024 * 1024;

/** A body that is held. */
export interface BodyHolder {
  /** What it takes, bytes. */
  readonly size: number;
  /** Ends its call, which gives back what it holds. */
  giveUp(): void;
}

/** What the bodies that are held for providers may take together. Where there is no room for more, a call ends that takes as much and has waited
 *  longer for its caller: whoever sends slowly on purpose keeps nobody else out. */
export class HeldBodies {
  readonly #most: number;
  #taken = 0;
  /** Those whose caller still has to send, in the order in which that began. */
  readonly waiting: Set<BodyHolder> = new Set();

  constructor(most: number) {
    this.#most = most;
  }

  get taken(): number {
    return this.#taken;
  }

  /** False: there is no room. */
  take(holder: BodyHolder, bytes: number): boolean {
    if (this.#taken + bytes > this.#most) this.#makeRoom(holder, bytes);
    if (this.#taken + bytes > this.#most) return false;
    this.#taken += bytes;
    return true;
  }

  #makeRoom(taker: BodyHolder, bytes: number): void {
    for (const holder of this.waiting) {
      if (holder === taker) return;
      if (holder.size >= bytes) {
        holder.giveUp();
        return;
      }
    }
  }

  giveBack(bytes: number): void {
    this.#taken -= bytes;
  }
}

/** Of this thread. */
export const heldBodies: HeldBodies = new HeldBodies(MOST_BYTES);
