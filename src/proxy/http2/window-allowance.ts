/** What one caller gets before it has taken anything, bytes. */
const FIRST_BYTES = 256 * 1024;
/** What it may earn, bytes. */
const MOST_BYTES = 4 * 1024 * 1024;
/** Of what a caller takes, the share that it may have under way besides. */
const EARNED = 1 / 4;

/** By how much the windows of all streams whose answers go to one caller's connection may be larger than they begin: what that caller can make us
 *  hold of answers that it does not take. It grows with what the caller takes. Pure. */
export class WindowAllowance {
  #limit = FIRST_BYTES;
  #used = 0;

  /** False if there is not so much left. */
  take(bytes: number): boolean {
    if (this.#used + bytes > this.#limit) return false;
    this.#used += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#used -= bytes;
  }

  /** The caller has taken so many bytes. */
  earn(bytes: number): void {
    if (this.#limit < MOST_BYTES) this.#limit = Math.min(MOST_BYTES, this.#limit + bytes * EARNED);
  }
}
