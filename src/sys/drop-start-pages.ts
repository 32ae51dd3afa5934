import { readFileSync } from "node:fs";

const MADV_DONTNEED = 4;

/** A mapping as /proc/self/smaps describes it. */
interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
}

/** Ranges of a file's pages that can be read again from the file at any time: mapped without the right to write, and without one page that
 *  differs from the file (relocations, a debugger's breakpoints), be it in memory or swapped out. Pure. */
export function cleanFileMappings(smaps: string, file: string): readonly Mapping[] {
  const found: Mapping[] = [];
  let candidate: Mapping | undefined;
  let cleanLines = 0;
  for (const line of smaps.split("\n")) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ +(.*)$/.exec(line);
    if (head !== null) {
      const [, start = "0", end = "0", rights = "", name] = head;
      cleanLines = 0;
      const fits = name === file && /^r-[x-]p$/.test(rights);
      candidate = fits ? { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) } : undefined;
    } else if (candidate !== undefined && /^(?:Anonymous|Swap): +0 kB$/.test(line)) {
      if (++cleanLines === 2) found.push(candidate);
    }
  }
  return found;
}

/** Takes the program file's pages out of this process: a start reads some 40 MB of code and tables, most of which no call needs. What is needed comes
 *  back from the page cache at the first touch, some hundred minor page faults. Worth it once a start is over. Linux alone; elsewhere nothing is
 *  done. */
export function dropStartPages(): void {
  if (process.platform !== "linux") return;
  try {
    const { functions } = process
      .getBuiltinModule("node:ffi")
      .dlopen(null, { madvise: { return: "i32", arguments: ["u64", "u64", "i32"] } });
    for (const { start, end } of cleanFileMappings(readFileSync("/proc/self/smaps", "latin1"), process.execPath))
      functions.madvise(start, end - start, MADV_DONTNEED);
  } catch {
    // no /proc, another C library, or a Node without node:ffi: the pages stay, which harms nobody
  }
}
