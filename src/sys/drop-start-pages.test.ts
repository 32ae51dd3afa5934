import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { cleanFileMappings } from "./drop-start-pages.ts";

const FILE = "/opt/node/bin/node";

function mapping(rights: string, name: string, anonymousKb = 0, swapKb = 0): string {
  return [
    `55782f5ba000-55782f5bc000 ${rights} 00000000 fe:00 247278                     ${name}`,
    "Rss:                   8 kB",
    `Anonymous:             ${anonymousKb} kB`,
    `Swap:                  ${swapKb} kB`,
    "VmFlags: rd mr mw me ",
    "",
  ].join("\n");
}

describe("mappings that may be dropped", () => {
  it.each(["r-xp", "r--p"])("are those of the program, with the rights %s", (rights) =>
    expect(cleanFileMappings(mapping(rights, FILE), FILE)).toEqual([{ start: 0x55782f5ba000n, end: 0x55782f5bc000n }]),
  );

  it.each([
    ["another file's", mapping("r--p", "/lib/libc.so.6")],
    ["one that can be written", mapping("rw-p", FILE)],
    ["one that others share", mapping("r--s", FILE)],
    ["one with pages of its own, as relocations make them", mapping("r--p", FILE, 24)],
    ["one with pages that were swapped out", mapping("r--p", FILE, 0, 4)],
    ["no file's", mapping("r--p", "")],
  ])("are not %s", (_, smaps) => expect(cleanFileMappings(smaps, FILE)).toEqual([]));

  it("are told apart when several follow each other", () => {
    const all = [mapping("r--p", FILE, 4), mapping("r-xp", FILE), mapping("rw-p", FILE)].join("");
    expect(cleanFileMappings(all, FILE)).toHaveLength(1);
  });
});

describe.runIf(process.platform === "linux")("dropping them", () => {
  it("makes the process smaller by most of its program, which goes on working", () => {
    const program = `
      import { readFileSync } from "node:fs";
      import { dropStartPages } from ${JSON.stringify(join(import.meta.dirname, "drop-start-pages.ts"))};
      const fileKb = () => Number(/RssFile:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "latin1"))[1]);
      const before = fileKb();
      await dropStartPages();
      const after = fileKb();
      JSON.parse(JSON.stringify({ a: new Intl.DateTimeFormat("de").format(0), b: [3, 1, 2].toSorted() }));
      console.log(JSON.stringify({ before, after }));`;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
    const { before, after } = JSON.parse(output) as { before: number; after: number };
    expect(after).toBeLessThan(before * 0.6);
  });
});
