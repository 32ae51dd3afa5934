import { createHash } from "node:crypto";
import { appendFileSync, fstatSync, mkdtempSync, openSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fakeClock } from "../../test/support/fake-clock.ts";
import { createExecutableHasher } from "./hash-executable.ts";

let folder: string;
let file: string;
const content = Buffer.alloc(2_500_000, "countersign");
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-"));
  file = join(folder, "program");
  writeFileSync(file, content);
});
afterEach(() => rmSync(folder, { recursive: true }));

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};
const withCode = (code: string): Error => expect.objectContaining({ code }) as Error;

describe("hashing an executable", () => {
  it("gives the SHA-256 of the whole file and closes the descriptor", async () => {
    const hasher = createExecutableHasher({ maxFileBytes: 1e7, bytesPerMinute: 1e7 }, fakeClock());
    const fd = openSync(file, "r");
    expect(await hasher.hash(fd, 0)).toBe(sha256(content));
    expect(isOpen(fd)).toBe(false);
  });

  it("refuses a file over the size limit and closes the descriptor", async () => {
    const hasher = createExecutableHasher({ maxFileBytes: 1000, bytesPerMinute: 1e7 }, fakeClock());
    const fd = openSync(file, "r");
    await expect(hasher.hash(fd, 0)).rejects.toThrow(withCode("E_HASH_LIMIT"));
    expect(isOpen(fd)).toBe(false);
  });

  it("limits what one uid has hashed in a minute; the cache is free and others are not affected", async () => {
    const clock = fakeClock();
    const hasher = createExecutableHasher({ maxFileBytes: 1e7, bytesPerMinute: 3_000_000 }, clock);
    await hasher.hash(openSync(file, "r"), 1001);
    await hasher.hash(openSync(file, "r"), 1001);
    appendFileSync(file, "x");
    await expect(hasher.hash(openSync(file, "r"), 1001)).rejects.toThrow(withCode("E_HASH_LIMIT"));
    await expect(hasher.hash(openSync(file, "r"), 1002)).resolves.toMatch(/^[0-9a-f]{64}$/);
    appendFileSync(file, "x");
    clock.advance(60_000);
    await expect(hasher.hash(openSync(file, "r"), 1001)).resolves.toMatch(/^[0-9a-f]{64}$/);
  });

  it("notices other content even when the owner sets the time back", async () => {
    const hasher = createExecutableHasher({ maxFileBytes: 1e7, bytesPerMinute: 1e8 }, fakeClock());
    const time = new Date(1_700_000_000_000);
    utimesSync(file, time, time);
    await hasher.hash(openSync(file, "r"), 0);
    const other = Buffer.from(content).fill("evil", 0, 4);
    writeFileSync(file, other);
    utimesSync(file, time, time);
    expect(await hasher.hash(openSync(file, "r"), 0)).toBe(sha256(other));
  });

  it("refuses a file that changes while it is read", async () => {
    const hasher = createExecutableHasher({ maxFileBytes: 1e7, bytesPerMinute: 1e8 }, fakeClock());
    const pending = hasher.hash(openSync(file, "r"), 0);
    appendFileSync(file, "x");
    await expect(pending).rejects.toThrow(withCode("E_PEER_CREDENTIALS"));
  });
});
