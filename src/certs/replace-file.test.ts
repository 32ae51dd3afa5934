import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { replaceFile } from "./replace-file.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-replace-"));
  file = join(folder, "key.pem");
});
afterEach(() => rmSync(folder, { recursive: true }));

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

describe("a file that is replaced", () => {
  it("is new or has new content, mode 0600, with nothing left beside it", () => {
    for (const content of ["first", "a second, longer one", Buffer.from("3")]) {
      replaceFile(file, content);
      expect(readFileSync(file, "utf8")).toBe(String(content));
      expect(modeOf(file)).toBe("600");
      expect(readdirSync(folder)).toEqual(["key.pem"]);
    }
  });

  it("keeps its old content for who has it open", () => {
    replaceFile(file, "old");
    const fd = openSync(file, "r");
    replaceFile(file, "new");
    expect(readFileSync(fd, "utf8")).toBe("old");
    closeSync(fd);
  });

  it("has nothing of what a crash or somebody else left beside it, nor its mode", () => {
    writeFileSync(`${file}.new`, "much more than what is written now", { mode: 0o666 });
    replaceFile(file, "own");
    expect(readFileSync(file, "utf8")).toBe("own");
    expect(modeOf(file)).toBe("600");
  });

  it("is not written through a link that somebody laid beside it", () => {
    const victim = join(folder, "victim");
    writeFileSync(victim, "untouched");
    symlinkSync(victim, `${file}.new`);
    replaceFile(file, "secret");
    expect(readFileSync(victim, "utf8")).toBe("untouched");
    expect(readFileSync(file, "utf8")).toBe("secret");
  });

  it("stays as it is where no other can be written", () => {
    expect(() => replaceFile(join(folder, "none", "key.pem"), "x")).toThrow("ENOENT");
    expect(readdirSync(folder)).toEqual([]);
  });
});
