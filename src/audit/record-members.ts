import { quoteJson } from "../core/safe-text.ts";

/* Members of a JSON object as text, each with a comma before it; nothing for a value that is unknown. For what is written once a
 * connection, or seldom. */

export function text(name: string, value: string | undefined, max: number): string {
  return value === undefined ? "" : `,"${name}":${quoteJson(value, max)}`;
}

/** The first `maxCount` texts. */
export function texts(name: string, values: readonly string[] | undefined, max: number, maxCount: number): string {
  if (values === undefined) return "";
  return `,"${name}":[${values
    .slice(0, maxCount)
    .map((value) => quoteJson(value, max))
    .join(",")}]`;
}

export function integer(name: string, value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? "" : `,"${name}":${value}`;
}

/** Members that each begin with a comma, as one object, or nothing when there are none. */
export function object(name: string, members: string): string {
  return members === "" ? "" : `,"${name}":{${members.slice(1)}}`;
}
