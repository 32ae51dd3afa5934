let cachedSecond = Number.NaN;
let cachedText = "";

/** UTC with microseconds, `2030-01-01T00:00:00.000000Z` (RFC 3339). `us` is microseconds since the epoch. The text of a second is
 *  kept, since thousands of records share it. Throws RangeError outside the years that Date knows. */
export function formatTimeUs(us: number): string {
  const second = Math.floor(us / 1_000_000);
  if (second !== cachedSecond) {
    cachedText = new Date(second * 1000).toISOString().slice(0, -4);
    cachedSecond = second;
  }
  const fraction = String(Math.floor(us - second * 1_000_000));
  return `${cachedText}${"000000".slice(fraction.length)}${fraction}Z`;
}

/** UTC with milliseconds, from milliseconds since the epoch. */
export function formatTimeMs(ms: number): string {
  return new Date(ms).toISOString();
}
