import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { sidecarJsonSchema } from "../../src/config/sidecar-json-schema.ts";

const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "configuration.md"), "utf8");

/** The names of all keys that a JSON Schema describes, whatever they are inside of. */
function keysOf(schema: unknown): readonly string[] {
  if (Array.isArray(schema)) return schema.flatMap(keysOf);
  if (typeof schema !== "object" || schema === null) return [];
  return Object.entries(schema).flatMap(([name, value]) => {
    const isProperties = name === "properties" && typeof value === "object" && value !== null;
    return isProperties ? [...Object.keys(value), ...keysOf(Object.values(value))] : keysOf(value);
  });
}

const keys = [...new Set(keysOf(sidecarJsonSchema()))];
const codeSpans = page.match(/`[^`\n]+`/g) ?? [];

test("there are keys to look for", () => {
  expect(keys).toEqual(expect.arrayContaining(["workload", "revocationGrace", "refusals", "tunnelIdle", "forward"]));
});

test.each(keys)("docs/configuration.md names %s", (key) => {
  const word = new RegExp(`(?<![\\w-])${key}(?![\\w-])`);
  expect(codeSpans.filter((span) => word.test(span))).not.toEqual([]);
});
