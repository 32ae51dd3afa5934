// A body whose every part is known: who receives it can tell that nothing is missing, doubled or out of place.
import type { Readable, Writable } from "node:stream";
import { crc32 } from "node:zlib";

const block = Buffer.alloc(64 * 1024);
for (let at = 0; at < block.length; at++) block[at] = (at * 31 + (at >> 8)) & 0xff;

export interface Transfer {
  bytes: number;
  crc: number;
}

export function startTransfer(): Transfer {
  return { bytes: 0, crc: 0 };
}

/** Writes blocks until `isDone` says so, as fast as the reader takes them; `pauseMs` waits between blocks. Ends when the
 *  stream is destroyed. Does not end the stream. */
export async function sendBlocks(target: Writable, sent: Transfer, isDone: () => boolean, pauseMs = 0): Promise<void> {
  while (!isDone() && !target.destroyed) {
    sent.crc = crc32(block, sent.crc);
    sent.bytes += block.length;
    if (!target.write(block)) await drained(target);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

function drained(target: Writable): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      target.removeListener("drain", settle);
      target.removeListener("close", settle);
      resolve();
    };
    target.once("drain", settle).once("close", settle);
  });
}

/** Counts and sums what arrives until the stream ends. Rejects when it breaks off. */
export function receiveAll(source: Readable, received: Transfer): Promise<void> {
  return new Promise((resolve, reject) => {
    source.on("data", (chunk: Buffer) => {
      received.crc = crc32(chunk, received.crc);
      received.bytes += chunk.length;
    });
    source.once("end", resolve);
    source.once("error", reject);
    source.once("close", () => reject(new Error("closed before its end"))); // no effect after "end"
  });
}

export function isSame(a: Transfer, b: Transfer): boolean {
  return a.bytes === b.bytes && a.crc === b.crc && a.bytes > 0;
}
