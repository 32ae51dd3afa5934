import { createReadStream, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Hop } from "./peers/peer.ts";

/** Lines that a hop has written, in all files of its access log (it may have rotated). Call when the hop has ended. */
export async function countLogLines({ accessLog: { dir, name } }: Hop): Promise<number> {
  let lines = 0;
  for (const file of readdirSync(dir).filter((entry) => entry.startsWith(name)))
    for await (const chunk of createReadStream(join(dir, file), { highWaterMark: 1024 * 1024 }))
      for (let at = (chunk as Buffer).indexOf(0x0a); at >= 0; at = (chunk as Buffer).indexOf(0x0a, at + 1)) lines++;
  return lines;
}
