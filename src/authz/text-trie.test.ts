import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { atOnce } from "./at-once.ts";
import { buildTextTrie, type TrieEntry } from "./build-text-trie.ts";
import { growingWords } from "./growing-words.ts";
import { collectValues, nearestValue, SEGMENT } from "./text-trie.ts";

interface Trie {
  readonly words: Int32Array;
  readonly root: number;
  readonly fromEnd: boolean;
}

function build(entries: readonly TrieEntry[], fromEnd: boolean): Trie {
  const words = growingWords();
  words.add(7, 7, 7); // others stand before it
  const root = atOnce(buildTextTrie(entries, fromEnd, words));
  return { words: words.take(), root, fromEnd };
}

function valuesOf({ words, root, fromEnd }: Trie, text: string): readonly number[] {
  const out: number[] = [];
  const count = collectValues(words, root, fromEnd, text, out, 0);
  return out.slice(0, count).toSorted((a, b) => a - b);
}

function nearest({ words, root, fromEnd }: Trie, text: string): number {
  return nearestValue(words, root, fromEnd, text);
}

const text = fc.string({ unit: fc.constantFrom("a", "b", "/", "é", "\uffff"), maxLength: 6 });

describe("a trie of texts", () => {
  it.each([false, true])("finds exactly what comparing one by one finds (from the end: %s)", (fromEnd) => {
    const entry = fc.record({ text, form: fc.constantFrom("exact" as const, "affix" as const) });
    const unique = fc.uniqueArray(entry, { maxLength: 30, selector: (one) => `${one.form} ${one.text}` });
    fc.assert(
      fc.property(unique, fc.array(text, { maxLength: 10 }), (some, asked) => {
        const entries = some.map((one, value) => ({ ...one, value }));
        const trie = build(entries, fromEnd);
        for (const one of [...asked, ...entries.map((each) => each.text)]) {
          const expected = entries.filter((each) => {
            if (each.form === "exact") return one === each.text;
            return fromEnd ? one.endsWith(each.text) : one.startsWith(each.text);
          });
          expect(valuesOf(trie, one)).toEqual(expected.map(({ value }) => value));
        }
      }),
    );
  });

  it.each([false, true])("finds numbered texts, alone and with what follows them (from the end: %s)", (fromEnd) => {
    const [number, end] = [fc.stringMatching(/^[0-3]{1,4}$/), fc.constantFrom("", "", "/", "/ab", "/abc")];
    const numbered = fc.tuple(number, end).map(([one, after]) => (fromEnd ? `${after}${one}` : `/a${one}${after}`));
    const form = fc.constantFrom("exact" as const, "affix" as const);
    const dense = fc.record({ count: fc.nat(260), digits: fc.integer({ min: 1, max: 4 }), end, form });
    fc.assert(
      fc.property(
        dense,
        fc.array(numbered, { maxLength: 3 }),
        fc.array(numbered),
        ({ count, digits, ...all }, more, asked) => {
          const names = Array.from({ length: count }, (_, i) => i.toString(4).padStart(digits, "0"));
          const texts = names.map((name) => (fromEnd ? `${all.end}${name}` : `/a${name}${all.end}`));
          const entries = [...new Set([...texts, ...more])].map((one, value) => ({ text: one, form: all.form, value }));
          const trie = build(entries, fromEnd);
          for (const one of [...asked, ...more, ...texts.slice(-20), "", "/a", "/a0"]) {
            const expected = entries.filter(({ text: each }) => {
              if (all.form === "exact") return one === each;
              return fromEnd ? one.endsWith(each) : one.startsWith(each);
            });
            expect(valuesOf(trie, one)).toEqual(expected.map(({ value }) => value));
            const near = nearest(trie, one);
            expect(entries.length === 0 ? near === -1 : near in entries).toBe(true);
            if (all.form === "exact" && expected.length > 0) expect(near).toBe(expected[0]?.value);
          }
        },
      ),
    );
  });

  it.each([
    ["behind one character", ["王"], 600, 1],
    ["behind two", ["王", "玊"], 512, 1],
    ["behind a text that ends", ["", "a"], 1000, 1],
    ["at once", [""], 4000, 1],
    ["as far apart as can be", ["a"], 4000, 10],
  ])("finds texts that go on with hundreds of neighbouring characters: %s", (_, beginnings, count, step) => {
    const ends = Array.from({ length: count }, (__, i) => String.fromCharCode(0x4e00 + i * step));
    for (const fromEnd of [false, true]) {
      const texts = beginnings.flatMap((begin) => ends.map((end) => (fromEnd ? end + begin : begin + end)));
      const trie = build(
        texts.map((one, value) => ({ text: one, form: "exact", value })),
        fromEnd,
      );
      expect(texts.filter((one, value) => valuesOf(trie, one).join() !== String(value))).toEqual([]);
    }
  });

  it("finds templates, which stand for one segment each", () => {
    const piece = fc.constantFrom("a", "b", "/", "ab/", "\uffff", SEGMENT);
    const pattern = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(""));
    const entry = fc.record({ text: pattern, form: fc.constantFrom("exact" as const, "affix" as const) });
    const whole = (text: string) => !text.includes(SEGMENT + SEGMENT) && !new RegExp(`${SEGMENT}[^/]`).test(text);
    const unique = fc.uniqueArray(
      entry.filter(({ text: one }) => whole(one)),
      { maxLength: 20, selector: (one) => `${one.form} ${one.text}` },
    );
    const path = fc.string({ unit: fc.constantFrom("a", "b", "/", "\uffff"), maxLength: 8 });
    fc.assert(
      fc.property(unique, fc.array(path, { maxLength: 10 }), (some, asked) => {
        const entries = some.map((one, value) => ({ ...one, value }));
        const trie = build(entries, false);
        for (const one of asked) {
          const expected = entries.filter((each) => {
            const source = each.text.replaceAll(SEGMENT, "[^/]+");
            // A segment at the end of a beginning is taken whole.
            const end = each.form === "exact" ? "$" : each.text.endsWith(SEGMENT) ? "(?=/|$)" : "";
            return new RegExp(`^${source}${end}`).test(one);
          });
          expect(new Set(valuesOf(trie, one))).toEqual(new Set(expected.map(({ value }) => value)));
        }
      }),
    );
  });

  it("takes no character of a text for a segment", () => {
    const trie = build([{ text: `/a/${SEGMENT}`, form: "exact", value: 0 }], false);
    expect([valuesOf(trie, `/a/${SEGMENT}`), valuesOf(trie, "/a/b")]).toEqual([[0], [0]]);
    expect(valuesOf(build([{ text: "/a/", form: "exact", value: 0 }], false), `/a/${SEGMENT}`)).toEqual([]);
  });

  it("names the entry with the longest common beginning", () => {
    const texts = ["/orders/list", "/orders/new", "/payments"];
    const trie = build(
      texts.map((one, value) => ({ text: one, form: "exact", value })),
      false,
    );
    expect([nearest(trie, "/orders/ne"), nearest(trie, "/paymentz"), nearest(trie, "/x")]).toEqual([1, 2, 0]);
    expect(nearest(build([], false), "/x")).toBe(-1);
  });
});
