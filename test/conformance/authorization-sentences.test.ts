import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

// Each sentence of the language has rows that prove it (authorization/sentences.yaml), and each row proves a sentence.

interface Sentence {
  readonly says: string;
  /** Beginnings of the cases' `spec`. */
  readonly rows: readonly string[];
}

const tables = join(import.meta.dirname, "authorization");
const read = (file: string): unknown => parse(readFileSync(join(tables, file), "utf8"));
const sections = read("sentences.yaml") as Readonly<Record<string, readonly Sentence[]>>;
const cases = readdirSync(tables)
  .filter((file) => file.endsWith(".yaml") && file !== "sentences.yaml")
  .flatMap((file) => (read(file) as readonly { readonly spec: string }[]).map(({ spec }) => spec));
const sentences = Object.values(sections).flat();

describe.each(Object.entries(sections))("%s", (_, some) => {
  it.each(some)("$says", ({ rows }) => {
    expect(rows).not.toEqual([]);
    for (const row of rows)
      expect(
        cases.filter((spec) => spec.startsWith(row)),
        row,
      ).not.toEqual([]);
  });
});

it("every row proves one of them", () => {
  const proving = sentences.flatMap(({ rows }) => rows);
  expect(cases.filter((spec) => !proving.some((row) => spec.startsWith(row)))).toEqual([]);
});
