import type { StatusProblem } from "../admin/status-identity.ts";
import { printable } from "../core/safe-text.ts";

/** Texts come from another process. */
export function show(value: unknown): string {
  return printable(String(value));
}

export function problemText({ code, message, fix }: StatusProblem): string {
  return `${show(code)} ${show(message)}${fix === undefined ? "" : `; fix: ${show(fix)}`}`;
}

export function plural(count: number, one: string, many: string): string {
  return `${show(count)} ${count === 1 ? one : many}`;
}

/** The two largest units: `3 d 4 h`, `5 min 2 s`, `12 s`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  let left = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ] as const) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0 || (unit === "s" && parts.length === 0)) parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}
