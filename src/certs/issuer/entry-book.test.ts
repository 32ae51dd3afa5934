import { describe, expect, it } from "vitest";
import { parseTrustDomain } from "../../core/spiffe-id.ts";
import type { EntryRules } from "./check-entries.ts";
import type { Entry } from "./entries.ts";
import { createEntryBook, type EntryBook, MAX_ADDED_ENTRIES } from "./entry-book.ts";
import { entryJson } from "./entry-json.ts";
import { parseEntry } from "./entry-shape.ts";

const rules: EntryRules = {
  trustDomain: parseTrustDomain("example.org"),
  development: false,
  maxTtlMs: 3_600_000,
  svidRotationMs: undefined,
  federatesWith: new Set(),
  endpointId: undefined,
};
const entry = (name: string, uid: number, more: object = {}): Entry =>
  parseEntry(JSON.stringify({ id: `spiffe://example.org/${name}`, selectors: [`unix:uid:${uid}`], ...more }), "test");
function bookOf(file: readonly Entry[], added: readonly Entry[] = []): EntryBook & { readonly saved: Entry[][] } {
  const saved: Entry[][] = [];
  return Object.assign(createEntryBook({ file, rules, added, save: (entries) => void saved.push([...entries]) }), {
    saved,
  });
}
const idsOf = (book: EntryBook): string[] => book.entries.map(({ id }) => id.slice("spiffe://example.org/".length));
const refusal = (text: RegExp): Error =>
  expect.objectContaining({ code: "E_ISSUER_ENTRY", message: expect.stringMatching(text) as string }) as Error;

describe("the issuer's entries", () => {
  it("are those of the file, then those added, and the added ones are saved first", () => {
    const book = bookOf([entry("a", 1)]);
    const b = entry("b", 2, { svidTtl: "5m", federatesWith: [] });
    const { added } = book.add(b);
    expect(added).toMatchObject({ source: "added", suspended: undefined, entry: b });
    expect(book.saved).toEqual([[b]]);
    expect(idsOf(book)).toEqual(["a", "b"]);
    book.remove(added.entryId);
    expect(book.saved).toEqual([[b], []]);
    expect(idsOf(book)).toEqual(["a"]);
  });

  it("stay as they are when saving fails", () => {
    const save = (): never => {
      throw new Error("ENOSPC");
    };
    const book = createEntryBook({ file: [], rules, added: [entry("a", 1)], save });
    expect(() => book.add(entry("b", 2))).toThrow("ENOSPC");
    expect(() => book.remove(book.listed[0]?.entryId ?? "")).toThrow("ENOSPC");
    expect(idsOf(book)).toEqual(["a"]);
  });

  it.each<[string, Entry, RegExp]>([
    [
      "an ID of another trust domain",
      parseEntry(`{"id":"spiffe://b.org/a","selectors":["unix:uid:9"]}`, "test"),
      /outside the trust domain/,
    ],
    ["a uid that another ID has", entry("b", 1), /shares uid 1 with/],
    ["what is there already", entry("a", 1), /same selectors twice/],
    ["a life that no CA outlives", entry("b", 2, { svidTtl: "2h" }), /longer than a sixth of caTtl/],
  ])("refuse %s", (_name, added, expected) => {
    const book = bookOf([entry("a", 1)]);
    expect(() => book.add(added)).toThrow(refusal(expected));
    expect(book.saved).toEqual([]);
  });

  it("warn as the file's do", () => {
    const added = entry("b", 2, { selectors: ["unix:uid:2", "unix:path:/usr/bin/python3"], federatesWith: ["b.org"] });
    expect(bookOf([]).add(added).warnings).toEqual([
      expect.stringMatching(/^W_ISSUER_FEDERATES/),
      expect.stringMatching(/^W_ISSUER_INTERPRETER/),
    ]);
  });

  it("of the file cannot be removed, nor what is not there", () => {
    const book = bookOf([entry("a", 1)]);
    expect(() => book.remove(book.listed[0]?.entryId ?? "")).toThrow(refusal(/stands in the file/));
    expect(() => book.remove("0123")).toThrow(refusal(/there is no entry/));
  });

  it("are bounded", () => {
    const many = Array.from({ length: MAX_ADDED_ENTRIES }, (_, uid) => entry(`n${uid}`, uid + 10));
    expect(() => bookOf([], many).add(entry("b", 5))).toThrow(refusal(/1000 added entries already/));
  });

  it("that a new file contradicts are suspended, and come back when it no longer does", () => {
    const book = bookOf([], [entry("b", 1)]);
    book.setFile([entry("a", 1)], rules);
    expect(idsOf(book)).toEqual(["a"]);
    expect(book.listed.map(({ source, suspended }) => [source, suspended])).toEqual([
      ["file", undefined],
      ["added", "spiffe://example.org/b shares uid 1 with spiffe://example.org/a: each could become the other"],
    ]);
    book.setFile([], rules);
    expect(idsOf(book)).toEqual(["b"]);
  });

  it("are the same after a way over JSON", () => {
    const one = entry("a", 1, { hint: "x", svidTtl: "90s", jwtTtl: "1m", federatesWith: ["b.org"] });
    expect(parseEntry(JSON.stringify(entryJson(one)), "test")).toEqual(one);
  });

  it("expand no variables of the environment", () => {
    expect(() => entry("a", 1, { hint: `\${HOME}` })).toThrow("E_CONFIG_ENV");
  });
});
