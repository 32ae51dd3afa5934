import { percentile } from "./load-report.ts";

/** Collects response times of one run, in milliseconds of performance.now(). */
export class Latencies {
  #samples = new Float64Array(1 << 16);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(ms: number): void {
    if (this.#count === this.#samples.length) {
      const larger = new Float64Array(this.#samples.length * 2);
      larger.set(this.#samples);
      this.#samples = larger;
    }
    this.#samples[this.#count++] = ms;
  }

  percentileUs(share: number): number {
    return percentile(this.#samples.subarray(0, this.#count), share) * 1e3;
  }
}
