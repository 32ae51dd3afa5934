/** Whether an app may read the path in more than one way: it has an encoded slash or backslash, a `;` parameter, or what may be a slash, backslash or
 *  dot that is encoded more than once. One pass; nothing is allocated. */
export function isAmbiguousPath(path: string): boolean {
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code === SEMICOLON || (code === PERCENT && escapesSeparator(path, i + 1))) return true;
  }
  return false;
}

/** How apps may read the path before they remove dot segments, the path itself aside: with backslashes taken for slashes or not, encoded slashes
 *  decoded or not, encoded backslashes decoded, taken for slashes or neither, and parameters kept, or removed before or after decoding. */
export function otherReadings(path: string): readonly string[] {
  const readings = new Set<string>();
  for (const text of path.includes("\\") ? [path, path.replaceAll("\\", "/")] : [path]) {
    const plain = withoutParameters(text);
    for (const slashes of SLASHES)
      for (const backslashes of BACKSLASHES) {
        const decoded = backslashes(slashes(text));
        // Parameters end at a slash: whether an encoded one counts depends on which is done first.
        readings
          .add(decoded)
          .add(withoutParameters(decoded))
          .add(backslashes(slashes(plain)));
      }
  }
  readings.delete(path);
  return [...readings];
}

/** Whether some reading has dot segments that the path does not show, even one for which what was encoded more than once is decoded to its end. No
 *  app needs such a path, and where it leads depends on who removes them. `readings`: those of the path. */
export function hidesDotSegments(path: string, readings: readonly string[]): boolean {
  // Nor can any come to light.
  if (!/\.|%2[5e]/i.test(path)) return false;
  const shown = countDotSegments(path);
  const hides = (reading: string) => countDotSegments(reading) > shown;
  if (readings.some(hides)) return true;
  const once = withoutNesting(path);
  return once !== path && [once, ...otherReadings(once)].some(hides);
}

const PERCENT = 0x25;
const SEMICOLON = 0x3b;
const TWO = 0x32;
const FIVE = 0x35;

const keep = (text: string) => text;
const SLASHES = [keep, (text: string) => text.replaceAll(/%2f/gi, "/")];
const BACKSLASHES = [
  keep,
  (text: string) => text.replaceAll(/%5c/gi, "\\"),
  (text: string) => text.replaceAll(/%5c/gi, "/"),
];

/** What escapes are written with. */
const WRITES_ESCAPES: ReadonlySet<number> = new Set(Buffer.from("%0123456789abcdefABCDEF"));

function withoutParameters(text: string): string {
  return text.replaceAll(/;[^/]*/g, "");
}

/** The path with its escapes encoded once, whatever of `%` and their digits was encoded, and however often. */
function withoutNesting(path: string): string {
  if (!path.includes("%25")) return path;
  const out = new Uint16Array(path.length);
  let length = 0;
  for (let i = 0; i < path.length; i++) {
    out[length++] = path.charCodeAt(i);
    // What is decoded may end the escape that began before it.
    while (length > 2 && out[length - 3] === PERCENT) {
      const code = hexValue(out[length - 2]) * 16 + hexValue(out[length - 1]);
      if (!WRITES_ESCAPES.has(code)) break;
      length -= 2;
      out[length - 1] = code;
    }
  }
  let text = "";
  for (let i = 0; i < length; i += 4096) text += String.fromCharCode(...out.subarray(i, Math.min(i + 4096, length)));
  return text;
}

function hexValue(code = 0): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : Number.NaN;
}

/** Whether an escape's two digits at that place are those of a slash or a backslash, or of a `%` behind which such digits, or those of a dot, follow,
 *  or may once they are decoded. */
function escapesSeparator(path: string, at: number): boolean {
  let i = at;
  while (path.charCodeAt(i) === TWO && path.charCodeAt(i + 1) === FIVE) i += 2;
  if (i > at && mayBecomeDigits(path, i)) return true;
  const letter = path.charCodeAt(i + 1) | 0x20;
  if (path.charCodeAt(i) === FIVE) return letter === 0x63;
  return path.charCodeAt(i) === TWO && (letter === 0x66 || (letter === 0x65 && i > at));
}

/** Whether one of the two digits there is encoded itself. */
function mayBecomeDigits(path: string, at: number): boolean {
  const first = path.charCodeAt(at);
  return first === PERCENT || ((first === TWO || first === FIVE) && path.charCodeAt(at + 1) === PERCENT);
}

function countDotSegments(path: string): number {
  return path.match(/(?<![^/\\])(?:\.|%2e){1,2}(?![^/\\])/gi)?.length ?? 0;
}
