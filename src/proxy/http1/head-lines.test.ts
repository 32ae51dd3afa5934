import fc from "fast-check";
import { expect, test } from "vitest";
import { HeadLines, SharedLines } from "./head-lines.ts";
import { HeadReader } from "./head-reader.ts";
import type { Fields } from "./http1-events.ts";
import { OutputBuffer } from "./output-buffer.ts";

const LIMITS = { headBytes: 4096, headFields: 100, requestLine: 100 };

function received(head: string): Fields {
  const reader = new HeadReader(LIMITS, undefined);
  expect(reader.read(Buffer.from(`${head}\r\n`, "latin1"), 0)).toBe(head.length + 2);
  return reader.takeFields();
}

const name = fc.constantFrom("Accept", "x-a", "B", "content-type", "X-Request-Id");
const value = fc.constantFrom("", "v", "a b\tc", "\xe9", ": x", "long ".repeat(9).trim());
/** Mostly as a writer writes it, so that whole heads are; else with other white space. */
const line = fc
  .tuple(name, fc.oneof({ arbitrary: fc.constant(" "), weight: 30 }, fc.constantFrom("", "\t", "  ")), value)
  .chain(([key, before, text]) =>
    fc
      .oneof({ arbitrary: fc.constant(""), weight: 30 }, fc.constantFrom(" ", "\t"))
      .map((after) => `${key}:${before}${text}${after}\r\n`),
  );
const act = fc.constantFrom("keep", "keep", "keep", "drop");

test("lines are those of the fields kept and added, in their order, however the head was written", () => {
  let verbatim = 0;
  fc.assert(
    fc.property(fc.array(fc.tuple(line, act), { maxLength: 8 }), (told) => {
      const fields = received(told.map(([text]) => text).join(""));
      const lines = new HeadLines(fields);
      let kept = "";
      for (const [field, [, verb]] of told.entries()) {
        if (verb === "keep") {
          lines.keep(field);
          kept += `${fields.raw[2 * field]}: ${fields.raw[2 * field + 1]}\r\n`;
        } else lines.drop(field);
      }
      lines.addShared(new SharedLines(["shared", "0"]));
      lines.add("own", "1");
      lines.addShared(new SharedLines(["a", "1", "b", "2"]));
      const shared = "shared: 0\r\na: 1\r\nb: 2\r\n";
      expect([`${kept}${shared}own: 1\r\n`, `${shared}${kept}own: 1\r\n`]).toContain(lines.text);
      const copied = lines.text.slice(0, lines.checked);
      expect(copied.endsWith("b: 2\r\n")).toBe(true);
      expect(lines.text.slice(lines.checked).split("\r\n").length - 1).toBe(lines.made);
      if (kept !== "" && copied.startsWith(kept)) verbatim++;
    }),
  );
  expect(verbatim).toBeGreaterThan(10);
});

test("an encoder gets the same fields in lower case and without Host, whole runs of them with their text", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(line, act), { maxLength: 8 }), fc.nat(8), fc.boolean(), (told, at, replaced) => {
      const before = told.slice(0, at);
      const head = [...before.map(([text]) => text), "Host: a.example\r\n", ...told.slice(at).map(([text]) => text)];
      const verbs = [...before.map(([, verb]) => verb), "host", ...told.slice(at).map(([, verb]) => verb)];
      const fields = received(head.join(""));
      const lines = new HeadLines(fields);
      const expected: string[] = [];
      for (const [field, verb] of verbs.entries()) {
        if (verb === "drop") lines.drop(field);
        else if (verb === "host") lines.keepHost(field, replaced ? "b.example" : undefined);
        else {
          lines.keep(field);
          expected.push(`${fields.lower[field]}: ${fields.raw[2 * field + 1]}`);
        }
      }
      lines.addShared(new SharedLines(["shared", "0"]));
      lines.add("own", "1");
      const seen: string[] = [];
      lines.encode(new OutputBuffer(), {
        field: (_, key, text) => void seen.push(`${key}: ${text}`),
        run: (_, text, { raw, lower }, from, to) => {
          expect(text.split("\r\n").length - 1).toBe(to - from);
          for (let i = from; i < to; i++) seen.push(`${lower[i]}: ${raw[2 * i + 1]}`);
        },
      });
      expect(seen).toEqual([...expected, "shared: 0", "own: 1"]);
      expect(lines.text).toContain(replaced ? "host: b.example\r\n" : "Host: a.example\r\n");
      expect(lines.text.toLowerCase().split("host: ").length).toBe(2);
    }),
  );
});

test.each([
  ["is copied", "A: b\r\nC: \r\n", true],
  ["without a space is not", "A:b\r\n", false],
  ["with two spaces is not", "A:  b\r\n", false],
  ["with a tab is not", "A:\tb\r\n", false],
  ["with white space behind is not", "A: b \r\n", false],
  ["beside another that is not, is not", "A: b\r\nC:d\r\n", false],
])("a line as a writer writes it %s", (_, head, isCopied) => {
  const fields = received(head);
  const lines = new HeadLines(fields);
  for (let field = 0; field < fields.lower.length; field++) lines.keep(field);
  expect(lines.checked).toBe(isCopied ? head.length : 0);
});

test.each(["a\r\nb: c", "\n", "\0", "\x7f", "\u010a"])("no shared line holds %j", (value) => {
  expect(() => new SharedLines(["a", value])).toThrow(TypeError);
  expect(() => new SharedLines([value, "a"])).toThrow(TypeError);
});

test("shared lines need no check, wherever they were added", () => {
  const shared = new SharedLines(["a", "1\t\xe9", "b", ""]);
  const lines = new HeadLines({ raw: [], lower: [] });
  lines.addShared(shared);
  lines.add("c", "2");
  lines.addShared(shared);
  expect(lines.text).toBe("a: 1\t\xe9\r\nb: \r\na: 1\t\xe9\r\nb: \r\nc: 2\r\n");
  expect([lines.checked, lines.made]).toEqual([2 * shared.text.length, 1]);
});
