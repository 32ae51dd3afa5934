import { expect, test } from "vitest";
import { OutputBuffer } from "./output-buffer.ts";

test("text and bytes come out in the order they were appended, one byte a character", () => {
  const out = new OutputBuffer();
  out.latin1("a\u00ff");
  out.bytes(Uint8Array.of(0, 13, 10));
  out.latin1("z");
  expect(out.length).toBe(6);
  expect([...out.take()]).toEqual([97, 255, 0, 13, 10, 122]);
  expect(out.length).toBe(0);
});

test("what was taken is not touched by later appends, of this buffer or another that reuses its scratch", () => {
  const first = new OutputBuffer();
  const second = new OutputBuffer();
  first.latin1("first");
  const taken = first.take();
  second.latin1("other");
  first.latin1("again");
  expect(taken.toString("latin1")).toBe("first");
  expect(first.take().toString("latin1")).toBe("again");
  expect(second.take().toString("latin1")).toBe("other");
});

test.each([1, 4095, 16_384, 16_385, 100_000, 400_000])(
  "an append of %i bytes after others keeps every byte",
  (size) => {
    const out = new OutputBuffer();
    const body = Buffer.alloc(size, "x");
    body[size - 1] = 7;
    for (let round = 0; round < 3; round++) {
      out.latin1("head");
      out.bytes(body);
      out.latin1("y".repeat(size));
      const taken = out.take();
      expect(taken.length).toBe(4 + 2 * size);
      expect(taken.subarray(0, 4).toString("latin1")).toBe("head");
      expect(taken.subarray(4, 4 + size).equals(body)).toBe(true);
      expect(taken[4 + 2 * size - 1]).toBe(121);
    }
  },
);

test("nothing is left after a reset, and taking nothing gives nothing", () => {
  const out = new OutputBuffer();
  expect(out.take().length).toBe(0);
  out.latin1("gone");
  out.reset();
  expect(out.length).toBe(0);
  out.latin1("kept");
  expect(out.take().toString("latin1")).toBe("kept");
});

test("bytes written to the room that was made are appended, and no more of it", () => {
  const out = new OutputBuffer();
  for (let round = 0; round < 3; round++) {
    out.latin1("ab");
    const scratch = out.room(20_000);
    expect(scratch.length).toBeGreaterThanOrEqual(out.length + 20_000);
    scratch.fill("c", out.length, out.length + 20_000);
    out.advance(2);
    out.latin1("d");
    expect(out.take().toString("latin1")).toBe("abccd");
  }
});
