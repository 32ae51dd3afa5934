import { readFile } from "node:fs/promises";

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
    if (/^[0-9a-f]+-/.test(line)) {
      candidate = line.endsWith(file) ? mappingOf(line, file) : undefined;
      cleanLines = 0;
    } else if (candidate !== undefined && /^(?:Anonymous|Swap): +0 kB$/.test(line)) {
      if (++cleanLines === 2) found.push(candidate);
    }
  }
  return found;
}

/** Of a mapping's first line, if the file is mapped there to be read or run alone. */
function mappingOf(line: string, file: string): Mapping | undefined {
  const [, start, end, name] = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +(.*)$/.exec(line) ?? [];
  if (start === undefined || end === undefined || name !== file) return undefined;
  return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) };
}

/** Takes the program file's pages out of this process: a start reads some 40 MB of code and tables, most of which no call needs. What is needed comes
 *  back from the page cache at the first touch, some hundred minor page faults. Worth it once a start is over. Linux alone; elsewhere nothing is
 *  done. */
export async function dropStartPages(): Promise<void> {
  if (process.platform !== "linux") return;
  try {
    // the kernel looks at every page for this: milliseconds that calls need not wait
    const mappings = cleanFileMappings(await readFile("/proc/self/smaps", "latin1"), process.execPath);
    const { functions } = process
      .getBuiltinModule("node:ffi")
      .dlopen(null, { madvise: { return: "i32", arguments: ["u64", "u64", "i32"] } });
    for (const { start, end } of mappings) functions.madvise(start, end - start, MADV_DONTNEED);
  } catch {
    // no /proc, another C library, or a Node without node:ffi: the pages stay, which harms nobody
  }
}
