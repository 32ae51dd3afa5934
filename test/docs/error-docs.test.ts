import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { errorCodes } from "../../src/core/error-codes.ts";

const root = join(import.meta.dirname, "..", "..");
const page = join(root, "docs", "errors.md");

function check(file: string): { readonly status: number | null; readonly stderr: string } {
  const tool = join(root, "tools", "generate-error-docs.mjs");
  return spawnSync(process.execPath, [tool, "--check", file], { encoding: "utf8" });
}

describe("docs/errors.md", () => {
  test("is what tools/generate-error-docs.mjs writes", () => {
    const { status, stderr } = check(page);
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });

  test("has one row for each code", () => {
    const rows = readFileSync(page, "utf8").match(/^\| `E_[A-Z0-9_]+`/gm) ?? [];
    expect(rows.map((row) => row.slice(3, -1)).sort()).toEqual(Object.keys(errorCodes).sort());
  });

  test("is refused when a row is changed", () => {
    const folder = mkdtempSync(join(tmpdir(), "countersign-docs-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const changed = join(folder, "errors.md");
    writeFileSync(changed, readFileSync(page, "utf8").replace("| `E_CONFIG_KEY` |", "| `E_CONFIG_KEYS` |"));
    const { status, stderr } = check(changed);
    expect(status).toBe(1);
    expect(stderr).toContain("is not up to date");
  });
});
