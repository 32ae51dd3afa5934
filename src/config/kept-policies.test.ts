import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type KeptPolicies, keptFile, readKeptPolicies, writeKeptPolicies } from "./kept-policies.ts";

const URL = "https://p.example/orders.yaml";
const copy = (text: string): KeptPolicies => ({
  url: URL,
  text,
  etag: '"e"',
  signature: { version: 3, signature: "eA==" },
  confirmedAtMs: 7,
});

let root: string;
let folder: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "countersign-kept-"));
  folder = join(root, "cache");
});
afterEach(() => rmSync(root, { recursive: true, maxRetries: 10 }));

it("is read as it was written, by its owner alone, and leaves nothing beside it", async () => {
  await writeKeptPolicies(folder, copy("one"));
  await writeKeptPolicies(folder, copy("two"));
  expect(await readKeptPolicies(folder, URL)).toEqual(copy("two"));
  expect([statSync(folder).mode & 0o777, statSync(keptFile(folder, URL)).mode & 0o777]).toEqual([0o700, 0o600]);
  expect(readdirSync(folder)).toHaveLength(1);
});

it("is whole however many write it at once", async () => {
  const texts = Array.from({ length: 8 }, (_, i) => String(i).repeat(100_000));
  await Promise.all(texts.map((text) => writeKeptPolicies(folder, copy(text))));
  expect(texts).toContain((await readKeptPolicies(folder, URL))?.text);
  expect(readdirSync(folder)).toHaveLength(1);
});

it.each<[string, () => void]>([
  [
    "that others can write to",
    () => {
      mkdirSync(folder);
      chmodSync(folder, 0o777);
    },
  ],
  [
    "that is a link",
    () => {
      mkdirSync(join(root, "elsewhere"), { mode: 0o700 });
      symlinkSync("elsewhere", folder);
    },
  ],
  ["that is a file", () => writeFileSync(folder, "")],
])("is not written to a folder %s, from which it would not be read", async (_, spoil) => {
  spoil();
  await expect(writeKeptPolicies(folder, copy("one"))).rejects.toMatchObject({ code: "E_POLICY_KEPT" });
  expect(readdirSync(root).filter((name) => name.includes("tmp"))).toEqual([]);
  if (statSync(folder).isDirectory()) expect(readdirSync(folder)).toEqual([]);
});
