import { EJECT_AFTER } from "./ejection.ts";
import type { EndpointLoad } from "./endpoint-load.ts";

/** Something with a load: an address with its connections. */
export interface HasLoad {
  readonly load: EndpointLoad;
}

/** Power of two choices: of two random addresses the one with the smaller cost, which is its open calls times its latency. Ejected
 *  ones are left out as long as there is another. `isOut`: has been tried already. Undefined if none is left.
 *  @param random uniform in [0, 1) */
export function chooseEndpoint<T extends HasLoad>(
  all: readonly T[],
  isOut: ((one: T) => boolean) | undefined,
  nowMs: number,
  random: () => number,
): T | undefined {
  // nearly always nobody is ejected: then no list is made for a call
  const open = isOut === undefined ? all : all.filter((one) => !isOut(one));
  const isAnyOut = open.some(({ load }) => load.ejectedUntilMs > nowMs);
  const well = isAnyOut ? open.filter(({ load }) => load.ejectedUntilMs <= nowMs) : open;
  const among = well.length > 0 ? well : open;
  if (among.length < 2) return among[0];
  const at = Math.floor(random() * among.length);
  const other = (at + 1 + Math.floor(random() * (among.length - 1))) % among.length;
  const first = among[at] as T;
  const second = among[other] as T;
  return isBetter(second.load, first.load, nowMs) ? second : first;
}

function isBetter(one: EndpointLoad, other: EndpointLoad, nowMs: number): boolean {
  const fails = one.failuresInRow >= EJECT_AFTER;
  // would be ejected, were there not too many already
  if (fails !== other.failuresInRow >= EJECT_AFTER) return !fails;
  return one.cost(nowMs) < other.cost(nowMs);
}
