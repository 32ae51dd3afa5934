import fc from "fast-check";
import { expect, test } from "vitest";
import { HeldBytes } from "./held-bytes.ts";

function drained(held: HeldBytes): Buffer {
  const pieces: Uint8Array[] = [];
  for (let piece = held.shift(); piece !== undefined; piece = held.shift()) pieces.push(piece);
  return Buffer.concat(pieces);
}

test("what was held comes back in order, whatever its pieces were and whenever some were taken", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 9000 }), fc.boolean()), { maxLength: 60 }), (steps) => {
      const held = new HeldBytes();
      const came: Buffer[] = [];
      const taken: Uint8Array[] = [];
      for (const [at, [length, takes]] of steps.entries()) {
        const chunk = Buffer.alloc(length, at + 1);
        came.push(Buffer.from(chunk));
        held.push(chunk);
        // it was a copy
        chunk.fill(0);
        if (!takes) continue;
        const piece = held.shift();
        if (piece !== undefined) taken.push(Buffer.from(piece));
      }
      expect(Buffer.concat([...taken, drained(held)]).equals(Buffer.concat(came))).toBe(true);
      expect(held.isEmpty).toBe(true);
    }),
  );
});

test("single bytes are put together", () => {
  const held = new HeldBytes();
  for (let at = 0; at < 60_000; at++) held.push(Buffer.from([at & 0xff]));
  expect(held.pieces).toBeLessThan(8);
  expect(drained(held)).toHaveLength(60_000);
});
