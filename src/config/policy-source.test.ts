import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { CountersignErrors, formatError } from "../core/errors.ts";
import { readPolicyFiles } from "./policy-source.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "countersign-policies-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function write(name: string, text = name): void {
  mkdirSync(join(root, name, ".."), { recursive: true });
  writeFileSync(join(root, name), text);
}

const at = { file: "c.yaml", line: 3, column: 5 };
const read = (...names: string[]) => readPolicyFiles(names.map((name) => ({ path: join(root, name), at })));
const names = async (...paths: string[]) => (await read(...paths)).map(({ file }) => file.slice(root.length + 1));

async function errors(...paths: string[]): Promise<string[]> {
  const thrown: unknown = await read(...paths).catch((error: unknown) => error);
  return thrown instanceof CountersignErrors ? thrown.errors.map(formatError) : [String(thrown)];
}

it("reads yaml and yml files of folders, sorted, with the folders inside", async () => {
  for (const name of ["p/b.yaml", "p/a.yml", "p/c/d.yaml", "p/README.md", "p/e.yaml~", "p/.swap.yaml", "p/.git/f.yaml"])
    write(name);
  expect(await names("p")).toEqual(["p/a.yml", "p/b.yaml", "p/c/d.yaml"]);
  expect(await read("p/a.yml")).toEqual([{ file: join(root, "p/a.yml"), text: "p/a.yml" }]);
});

it("passes over tables of tests in folders, but no policy that has the name of one", async () => {
  write("p/a.yaml");
  write("p/a.test.yaml", "tests: []");
  write("p/b.test.yml", "{ apiVersion: security.istio.io/v1 }");
  expect(await names("p")).toEqual(["p/a.yaml", "p/b.test.yml"]);
  expect(await names("p/a.test.yaml")).toEqual(["p/a.test.yaml"]);
});

it("reads a named file whatever its ending, and keeps the order of the paths", async () => {
  for (const name of ["z.txt", "p/a.yaml"]) write(name);
  expect(await names("z.txt", "p")).toEqual(["z.txt", "p/a.yaml"]);
});

it("reads a Kubernetes mount once, through its links", async () => {
  write("p/..2030_01_01/a.yaml", "a: 1");
  symlinkSync("..2030_01_01", join(root, "p/..data"));
  symlinkSync("..data/a.yaml", join(root, "p/a.yaml"));
  expect(await read("p")).toEqual([{ file: join(root, "p/a.yaml"), text: "a: 1" }]);
});

it("reads nothing twice and does not follow links in circles", async () => {
  write("p/a.yaml");
  symlinkSync(".", join(root, "p/again"));
  symlinkSync("a.yaml", join(root, "p/b.yaml"));
  expect(await names("p", "p/a.yaml")).toEqual(["p/a.yaml"]);
});

it("finds an empty folder to be empty", async () => {
  mkdirSync(join(root, "p"));
  expect(await read("p")).toEqual([]);
});

it("names everything that cannot be read, at the place that names it", async () => {
  write("big.yaml", "x".repeat(4 * 2 ** 20 + 1));
  symlinkSync("nowhere", join(root, "broken.yaml"));
  expect(await errors("gone", "broken.yaml")).toEqual([
    `c.yaml:3:5: E_CONFIG_FILE ${join(root, "gone")} does not exist`,
    `c.yaml:3:5: E_CONFIG_FILE ${join(root, "broken.yaml")} does not exist`,
  ]);
  expect(await errors("big.yaml")).toEqual([expect.stringContaining("is larger than 4194304 bytes")]);
});

it("refuses a set without bounds", async () => {
  for (let i = 0; i < 17; i++) write(`p/${i}.yaml`, "x".repeat(4 * 2 ** 20));
  expect(await errors("p")).toEqual([
    expect.stringContaining("larger than 67108864 characters in all; fix: name a smaller folder"),
  ]);
  for (let i = 0; i < 10_001; i++) writeFileSync(join(root, "p", `e${i}.yaml`), "");
  expect(await errors("p")).toEqual([expect.stringContaining("has more than 10000 files")]);
});
