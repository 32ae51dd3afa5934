import {
  chmodSync,
  chownSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { CountersignError } from "../core/errors.ts";
import { replaceFiles } from "./replace-files.ts";

function folderOf(files: Readonly<Record<string, string>>): (name: string) => string {
  const folder = mkdtempSync(join(tmpdir(), "countersign-replace-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return (name) => join(folder, name);
}

async function problemOf(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return error instanceof CountersignError ? `${error.code} ${error.message}` : String(error);
}

describe("replaceFiles", () => {
  it.each([0o640, 0o664, 0o400])("keeps mode %o", async (mode) => {
    const at = folderOf({ "a.yaml": "old" });
    chmodSync(at("a.yaml"), mode);
    await replaceFiles([{ file: at("a.yaml"), before: "old", text: "new" }]);
    expect([readFileSync(at("a.yaml"), "utf8"), statSync(at("a.yaml")).mode & 0o7777]).toEqual(["new", mode]);
    expect(readdirSync(at("."))).toEqual(["a.yaml"]);
  });

  it.skipIf(process.getuid?.() !== 0)("keeps owner and group, where the user may give files away", async () => {
    const at = folderOf({ "a.yaml": "old" });
    chownSync(at("a.yaml"), 12_345, 23_456);
    chmodSync(at("a.yaml"), 0o660);
    await replaceFiles([{ file: at("a.yaml"), before: "old", text: "new" }]);
    const { uid, gid, mode } = statSync(at("a.yaml"));
    expect([uid, gid, mode & 0o7777]).toEqual([12_345, 23_456, 0o660]);
  });

  it.skipIf(process.getuid?.() !== 0)("changes no file when one of them would belong to somebody else", async () => {
    const at = folderOf({ "a.yaml": "old", "b.yaml": "old" });
    chownSync(at("b.yaml"), 12_345, 23_456);
    const refused = replaceFiles(
      ["a.yaml", "b.yaml"].map((name) => ({ file: at(name), before: "old", text: "new" })),
      async () => {
        throw new Error("EPERM");
      },
    );
    expect(await problemOf(refused)).toBe(
      "E_POLICY_FIX the file belongs to user 12345 and group 23456, which this user cannot give a new one to: nothing is fixed",
    );
    expect([readFileSync(at("a.yaml"), "utf8"), readdirSync(at("."))]).toEqual(["old", ["a.yaml", "b.yaml"]]);
  });

  it("keeps a byte order mark", async () => {
    const at = folderOf({ "a.yaml": "\ufeffold" });
    await replaceFiles([{ file: at("a.yaml"), before: "old", text: "new" }]);
    expect(readFileSync(at("a.yaml"), "utf8")).toBe("\ufeffnew");
  });

  it("replaces what a link leads to, as in a mounted ConfigMap, and keeps the link", async () => {
    const at = folderOf({ "b.yaml": "old" });
    symlinkSync("b.yaml", at("a.yaml"));
    await replaceFiles([{ file: at("a.yaml"), before: "old", text: "new" }]);
    expect([readFileSync(at("b.yaml"), "utf8"), readlinkSync(at("a.yaml"))]).toEqual(["new", "b.yaml"]);
  });

  it("leaves a file that was changed meanwhile, or has several names", async () => {
    const at = folderOf({ "a.yaml": "older", "b.yaml": "old" });
    linkSync(at("b.yaml"), at("c.yaml"));
    expect(await problemOf(replaceFiles([{ file: at("a.yaml"), before: "old", text: "new" }]))).toContain(
      "the file was changed meanwhile",
    );
    expect(await problemOf(replaceFiles([{ file: at("b.yaml"), before: "old", text: "new" }]))).toContain("2 names");
    expect(readdirSync(at(".")).map((name) => readFileSync(at(name), "utf8"))).toEqual(["older", "old", "old"]);
  });
});
