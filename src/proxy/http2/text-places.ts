/** An array with places for `count` texts, all of which the caller fills. One that grows by pushes has room for seventeen more than it needs,
 *  and a head has two of them. */
export function textPlaces(count: number): string[] {
  // oxlint-disable-next-line unicorn/no-new-array -- Array.from would fill it first, at the cost of a call a place
  return new Array<string>(count);
}
