import type { SourceFile } from "./policy-source.ts";

export function sameFiles(a: readonly SourceFile[], b: readonly SourceFile[]): boolean {
  return a.length === b.length && a.every(({ file, text }, i) => b[i]?.file === file && b[i]?.text === text);
}

/** Whether `next` lacks a file or a YAML document of `current`, or has a file that ends early: what a set looks like
 *  while it is being written. Only counts documents and compares beginnings; it parses nothing. */
export function losesSomething(current: readonly SourceFile[], next: readonly SourceFile[]): boolean {
  const after = new Map(next.map(({ file, text }) => [file, text]));
  return current.some(({ file, text }) => {
    const now = after.get(file);
    if (now === undefined || now === text) return now === undefined;
    return (now.length < text.length && text.startsWith(now)) || countDocuments(now) < countDocuments(text);
  });
}

function countDocuments(text: string): number {
  return text.split(/^---(?:\s|$)/m).filter((part) => /^\s*[^#\s]/m.test(part)).length;
}
