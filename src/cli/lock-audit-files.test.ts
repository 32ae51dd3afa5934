import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { lockAuditFiles } from "./lock-audit-files.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "countersign-lock-"));
  folders.push(folder);
  return folder;
}

describe("lockAuditFiles", () => {
  it("refuses a file that another holder writes to, and lets go of the others", () => {
    const [a, b] = [join(makeFolder(), "a.jsonl"), join(makeFolder(), "b.jsonl")];
    const release = lockAuditFiles([b]);
    expect(() => lockAuditFiles([a, b])).toThrow(expect.objectContaining({ code: "E_AUDIT_FILE" }) as Error);
    lockAuditFiles([a])();
    release();
    lockAuditFiles([a, b])();
  });

  it("leaves a folder that is not there to audit itself", () => {
    const path = join(makeFolder(), "missing", "a.jsonl");
    lockAuditFiles([path])();
    expect(existsSync(`${path}.lock`)).toBe(false);
  });
});
