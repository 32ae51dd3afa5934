import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { quoteJson } from "../core/safe-text.ts";
import { asciiRun, putAgain, putMilliseconds, putNumber, putRun, putSixDigits, putText } from "./record-bytes.ts";

const bytes = Buffer.alloc(4096);
const BEFORE = 3;

/** What `put` writes; it must touch nothing before it, and leave the rest to whatever comes next. */
function written(put: (at: number) => number): string {
  bytes.fill(0x2e);
  const end = put(BEFORE);
  expect(bytes.toString("latin1", 0, BEFORE)).toBe("...");
  return bytes.toString("latin1", BEFORE, end);
}

describe("a text", () => {
  const anyUnit = fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit));
  const units = fc.oneof(
    { weight: 60, arbitrary: fc.integer({ min: 0x20, max: 0x7e }).map((unit) => String.fromCharCode(unit)) },
    { weight: 1, arbitrary: anyUnit },
    {
      weight: 1,
      arbitrary: fc.constantFrom('"', "\\", "\n", "\u007f", "\u0080", "é", "\u202e", "\ud800", "\udfff", "😀"),
    },
  );
  const anyText = fc.array(units, { maxLength: 120 }).map((parts) => parts.join(""));

  it("is what quoteJson makes of it, of any length and with anything in it", () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 1, max: 130 }), (text, max) => {
        expect(written((at) => putText(bytes, at, text, max))).toBe(quoteJson(text, max));
      }),
      { numRuns: 2000 },
    );
  });

  it.each(
    [31, 32, 33, 64].flatMap((size) =>
      ['"', "\\", "\u001f", "\u007f", "é", "ł", "\ud83d"].map((unit) => [size, unit] as const),
    ),
  )("of %i units is escaped wherever %j stands", (size, unit) => {
    for (let i = 0; i < size; i++) {
      const text = `${"a".repeat(i)}${unit}${"b".repeat(size - 1 - i)}`;
      expect(written((at) => putText(bytes, at, text, 1000))).toBe(quoteJson(text, 1000));
    }
  });

  it("is escaped if it is of two-byte letters alone, as many as would fill its bytes", () => {
    for (const text of ["é".repeat(40), "ł".repeat(40), "\u0141".repeat(33), "é".repeat(2)])
      expect(written((at) => putText(bytes, at, text, 1000))).toBe(quoteJson(text, 1000));
  });
});

describe("a number", () => {
  it.each([0, -0, 9, 10, 99, 100, 2 ** 31 - 1, 2 ** 31, 2 ** 32, -1, 1.5, 1e21, 5e-7, Number.MAX_SAFE_INTEGER])(
    "%d is what JSON has for it",
    (value) => expect(written((at) => putNumber(bytes, at, value))).toBe(JSON.stringify(value)),
  );
  it("of any kind is what JSON has for it", () => {
    fc.assert(
      fc.property(fc.oneof(fc.double(), fc.nat(), fc.maxSafeInteger()), (value) => {
        expect(written((at) => putNumber(bytes, at, value))).toBe(JSON.stringify(value));
      }),
    );
  });
});

describe("milliseconds", () => {
  const asText = (ms: number): string => `${Math.round(ms * 1000) / 1000}`;
  it.each([
    0, 0.0004, 0.0005, 0.001, 0.01, 0.1, 0.12, 0.999, 0.9996, 1, 1.05, 10.5, 2_147_483.647, 2_147_483.648, 9e12,
    -0.0001, -2.5,
  ])("%d have at most three decimals", (ms) =>
    expect(written((at) => putMilliseconds(bytes, at, ms))).toBe(asText(ms)),
  );
  it("of any length are what rounding prints", () => {
    const lengths = fc.oneof(
      fc.double({ min: -10, max: 1e7, noNaN: true }),
      fc.nat({ max: 2 ** 31 - 1 }).map((us) => us / 1000),
      fc.double({ noNaN: true, min: -1e300, max: 1e300 }),
    );
    fc.assert(
      fc.property(lengths, (ms) => {
        expect(written((at) => putMilliseconds(bytes, at, ms))).toBe(asText(ms));
      }),
      { numRuns: 3000 },
    );
  });
});

it("six digits are the whole part, with zeros before it", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 999_999.999, noNaN: true }), (value) => {
      expect(written((at) => putSixDigits(bytes, at, value))).toBe(String(Math.floor(value)).padStart(6, "0"));
    }),
  );
});

it("a run is copied, and what was written before can be written again", () => {
  expect(
    written((at) => {
      const end = putRun(bytes, at, asciiRun("abc"));
      return putAgain(bytes, end, at + 1, end);
    }),
  ).toBe("abcbc");
});
