/** Whether an app may read the path in more than one way: it has an encoded slash or backslash, a `;` parameter, or a slash, backslash or dot that
 *  is encoded more than once. One pass; nothing is allocated. */
export function isAmbiguousPath(path: string): boolean {
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code === SEMICOLON || (code === PERCENT && escapesSeparator(path, i + 1))) return true;
  }
  return false;
}

/** How apps may read the path before they remove dot segments, the path itself aside: with encoded slashes decoded or not, encoded backslashes
 *  decoded, taken for slashes or neither, and parameters kept, or removed before or after that. */
export function otherReadings(path: string): readonly string[] {
  const readings = new Set<string>();
  for (const slashes of SLASHES)
    for (const backslashes of BACKSLASHES) {
      const decode = (text: string) => backslashes(slashes(text));
      const decoded = decode(path);
      // Parameters end at a slash: whether an encoded one counts depends on which is done first.
      readings
        .add(decoded)
        .add(withoutParameters(decoded))
        .add(decode(withoutParameters(path)));
    }
  readings.delete(path);
  return [...readings];
}

/** Whether some reading has dot segments that the path does not show, even one for which what was encoded more than once is decoded to its end. No
 *  app needs such a path, and where it leads depends on who removes them. `readings`: those of the path. */
export function hidesDotSegments(path: string, readings: readonly string[]): boolean {
  const shown = countDotSegments(path);
  const hides = (reading: string) => countDotSegments(reading) > shown;
  if (readings.some(hides)) return true;
  const once = path.replaceAll(/%(?:25)+(?=2e|2f|5c)/gi, "%");
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

function withoutParameters(text: string): string {
  return text.replaceAll(/;[^/]*/g, "");
}

/** Whether an escape's two digits at that place are those of a slash or a backslash, or of a `%` behind which such digits, or those of a dot, follow. */
function escapesSeparator(path: string, at: number): boolean {
  let i = at;
  while (path.charCodeAt(i) === TWO && path.charCodeAt(i + 1) === FIVE) i += 2;
  const letter = path.charCodeAt(i + 1) | 0x20;
  if (path.charCodeAt(i) === FIVE) return letter === 0x63;
  return path.charCodeAt(i) === TWO && (letter === 0x66 || (letter === 0x65 && i > at));
}

function countDotSegments(path: string): number {
  return path.split(/[/\\]/).filter((segment) => /^(?:\.|%2e){1,2}$/i.test(segment)).length;
}
