import { expect, it } from "vitest";
import { createMessageReader, writeMessage } from "./shared-memory-message.ts";

/** The bytes of a message in pieces of a size. */
function* pieces(value: unknown, size: number): Generator<Uint8Array> {
  const bytes = Buffer.concat(writeMessage(value));
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function read(taken: Iterable<Uint8Array>): Promise<unknown> {
  const { take, end, message } = createMessageReader();
  for (const piece of taken) {
    take(piece);
    piece.fill(0xff); // it was lent
  }
  end();
  return message;
}

it.each([1, 3, 7, 64, 100_000])("is what it was, in pieces of %i bytes", async (size) => {
  const memory = new SharedArrayBuffer(40);
  const words = new Int32Array(memory, 8, 4);
  words.set([1, -2, 3, 0x7fffffff]);
  const bytes = new Uint8Array(new SharedArrayBuffer(3));
  bytes.set([1, 2, 255]);
  const value = {
    words,
    again: [words, new Uint8Array(memory)],
    bytes,
    none: new Int32Array(new SharedArrayBuffer(0)),
    names: new Map([["ä", undefined]]),
    text: "é".repeat(100),
  };
  const back = (await read(pieces(value, size))) as typeof value;
  expect(back).toEqual(value);
  expect(back.words.buffer).toBeInstanceOf(SharedArrayBuffer);
  expect(back.again.map(({ buffer }) => buffer === back.words.buffer)).toEqual([true, true]);
  expect(back.bytes.buffer).not.toBe(back.words.buffer);
});

it("is none when it ends early", async () => {
  const bytes = Buffer.concat(writeMessage({ words: new Int32Array(new SharedArrayBuffer(40)), text: "abc" }));
  for (let length = 0; length < bytes.length; length++)
    // oxlint-disable-next-line no-await-in-loop -- a table
    expect(await read([Buffer.from(bytes.subarray(0, length))])).toBeUndefined();
});

it("is whole before the end, and what follows is ignored", async () => {
  const { take, message } = createMessageReader();
  for (const piece of [...writeMessage("one"), ...writeMessage("two")]) take(piece);
  expect(await message).toBe("one");
});

it.each([
  ["not a structure", [4, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x21, 0x21, 0x21, 0x21]],
  ["a structure that ends early", [2, 0, 0, 0, 0, 0, 0, 0, 0xff, 15, 0, 0]],
])("is refused when it is %s", async (_what, bytes) => {
  await expect(read([Uint8Array.from(bytes)])).rejects.toThrow();
});

it.each([
  ["memory that is not shared", new Uint8Array(4)],
  ["another kind of view", new Float64Array(new SharedArrayBuffer(8))],
])("takes no view of %s", (_what, view) => {
  expect(() => writeMessage({ view })).toThrow("not a view of shared memory");
});
