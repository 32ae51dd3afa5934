import type { TurnSource } from "../../src/proxy/fair-turns.ts";

/** An event loop by hand: each `turn()` runs what was to come soon. */
export class FakeEventLoop implements TurnSource {
  #ms = 0;
  #turn = 0;
  #soon: (() => void)[] = [];

  nowMs(): number {
    return this.#ms;
  }

  turn(): number {
    return this.#turn;
  }

  soon(run: () => void): void {
    this.#soon.push(run);
  }

  work(ms: number): void {
    this.#ms += ms;
  }

  /** False: nothing was to be done. */
  endTurn(): boolean {
    this.#turn++;
    const batch = this.#soon.splice(0);
    for (const run of batch) run();
    return batch.length > 0;
  }
}
