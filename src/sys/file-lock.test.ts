import { mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lockFile } from "./file-lock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe.runIf(process.platform === "linux")("lockFile", () => {
  it("gives a lock to one holder at a time", () => {
    const path = join(folder, "lock");
    const release = lockFile(path);
    expect(release).toBeDefined();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(lockFile(path)).toBeUndefined();
    release?.();
    const again = lockFile(path);
    expect(again).toBeDefined();
    again?.();
  });

  it("does not follow a link that someone put there", () => {
    symlinkSync("/dev/null", join(folder, "lock"));
    expect(() => lockFile(join(folder, "lock"))).toThrow("ELOOP");
  });
});
