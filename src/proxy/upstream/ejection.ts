import type { EndpointLoad, LoadObserver } from "./endpoint-load.ts";

/** Failures in a row that eject an address. */
export const EJECT_AFTER = 5;
const BASE_MS = 30_000;
const LONGEST_MS = 300_000;

export interface EjectionOptions {
  /** The addresses among which at most half may be ejected at a time. */
  readonly loads: () => readonly EndpointLoad[];
  readonly nowMs: () => number;
  readonly onEjected: (load: EndpointLoad, forMs: number) => void;
}

/** Passive health: an address that fails 5 times in a row gets no calls for 30 s, then 60, 90, … up to 300 s; the number falls by one
 *  for each 30 s in which it did well. Nobody is ejected while half of the addresses are: the others would get all the load. After its
 *  time an address is on trial: one more failure ejects it again, one answer clears it. */
export class Ejection implements LoadObserver {
  readonly #options: EjectionOptions;

  constructor(options: EjectionOptions) {
    this.#options = options;
  }

  onFailure(load: EndpointLoad): void {
    if (load.failuresInRow < EJECT_AFTER) return;
    const { loads, nowMs, onEjected } = this.#options;
    const now = nowMs();
    if (load.ejectedUntilMs > now) return;
    const all = loads();
    const ejected = all.reduce((sum, one) => (one.ejectedUntilMs > now ? sum + 1 : sum), 0);
    if (!all.includes(load) || (ejected + 1) * 2 > all.length) return;
    const wellForMs = load.ejectedUntilMs === 0 ? 0 : now - load.ejectedUntilMs;
    load.ejections = Math.max(0, load.ejections - Math.floor(wellForMs / BASE_MS)) + 1;
    load.totalEjections++;
    const forMs = Math.min(LONGEST_MS, BASE_MS * load.ejections);
    load.ejectedUntilMs = now + forMs;
    load.failuresInRow = EJECT_AFTER - 1;
    onEjected(load, forMs);
  }
}
