import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
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
import { CountersignError } from "../../core/errors.ts";
import { parseTrustDomain } from "../../core/spiffe-id.ts";
import { createJwtAuthority } from "./jwt-authority.ts";
import { openStateStore, readState, type StateStore } from "./state-store.ts";
import { type AuthoritySet, spiffeBundleJson } from "./trust-bundle.ts";
import { createX509Authority } from "./x509-authority.ts";

const trustDomain = parseTrustDomain("example.org");
const nowMs = Date.UTC(2030, 0, 1);
let base: string;
let folder: string;
let open: StateStore[];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "countersign-"));
  folder = join(base, "state");
  open = [];
});
afterEach(() => {
  for (const store of open) store.close();
  rmSync(base, { recursive: true });
});

function openStore(): StateStore {
  const store = openStateStore(folder, trustDomain);
  open.push(store);
  return store;
}
async function authorities(): Promise<AuthoritySet> {
  return {
    trustDomain,
    sequence: 7,
    x509: [await createX509Authority(trustDomain, 60_000, nowMs)],
    jwt: [await createJwtAuthority("ec-p256", 60_000, nowMs)],
  };
}
const file = (): string => join(folder, "authorities.json");
function problemOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof CountersignError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "none";
}

describe.runIf(process.platform === "linux")("the issuer's state", () => {
  it("is read back as it was written", async () => {
    const store = openStore();
    expect(store.read()).toBeUndefined();
    const written = await authorities();
    store.write(written);
    const back = store.read();
    expect(back).toBeDefined();
    expect(spiffeBundleJson(back ?? expect.fail())).toBe(spiffeBundleJson(written));
    expect(back?.x509[0]?.key.equals(written.x509[0]?.key ?? expect.fail())).toBe(true);
    expect(back?.x509[0]?.createdMs).toBe(nowMs);
    expect(back?.x509[0]?.notAfterMs).toBe(written.x509[0]?.notAfterMs);
    expect(back?.jwt).toEqual(written.jwt);
    expect(readState(folder, trustDomain).sequence).toBe(7);
  });

  it("is for its owner alone, and leaves nothing else behind", async () => {
    openStore().write(await authorities());
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).sort()).toEqual(["authorities.json", "lock"]);
  });

  it("has one issuer at a time", () => {
    openStore();
    expect(problemOf(openStore)).toContain("E_ISSUER_STATE_LOCKED");
  });

  it.each([
    ["a folder that others may read", () => mkdirSync(folder, { mode: 0o755 }), "has mode 0755"],
    ["a folder that is a file", () => writeFileSync(folder, ""), "cannot be made"],
    [
      "a folder above it that others may write",
      () => {
        mkdirSync(join(base, "open"));
        chmodSync(join(base, "open"), 0o777);
        folder = join(base, "open", "state");
      },
      "in the hands of other users",
    ],
  ])("refuses %s", (_name, prepare, expected) => {
    prepare();
    expect(problemOf(openStore)).toContain("E_ISSUER_STATE ");
    expect(problemOf(openStore)).toContain(expected);
  });

  it.each([
    ["a file that others may read", () => chmodSync(file(), 0o644), "has mode 0644"],
    ["a symbolic link", () => replace((at) => symlinkSync("/etc/passwd", at)), "is a symbolic link"],
    ["a folder", () => replace((at) => mkdirSync(at)), "is not a regular file"],
    ["an empty file", () => writeFileSync(file(), ""), "is not a state file"],
    ["half a file", () => writeFileSync(file(), readFileSync(file()).subarray(0, 900)), "is not a state file"],
    ["a file too large", () => writeFileSync(file(), Buffer.alloc(2 ** 20 + 1)), "is larger than"],
    ["JSON of something else", () => writeFileSync(file(), "[1]"), "has a format that"],
    ["no object at all", () => writeFileSync(file(), "7"), "lacks a part"],
    ["another format", () => edit((state) => ({ ...state, format: 3 })), "has a format that"],
    [
      "another trust domain",
      () => edit((state) => ({ ...state, trustDomain: "other.org" })),
      "holds the authorities of other.org, not of example.org",
    ],
    ["no CAs", () => edit((state) => ({ ...state, x509: undefined })), "lacks a list"],
    ["a CA without its time", () => edit((state) => mapFirst(state, "x509", { createdMs: "1" })), "lacks a number"],
    ["a JWT key without its name", () => edit((state) => mapFirst(state, "jwt", { keyId: "" })), "lacks a text"],
    [
      "a key that is not the CA's",
      () => edit((state) => mapFirst(state, "x509", { key: keyOf(state, "jwt") })),
      "holds a CA certificate and a key that do not belong together",
    ],
    ["a key that is none", () => edit((state) => mapFirst(state, "x509", { key: "PRIVATE" })), "is not a state file"],
  ])("refuses %s and does not quote it", async (_name, damage, expected) => {
    const store = openStore();
    store.write(await authorities());
    const secret = keyOf(JSON.parse(readFileSync(file(), "utf8")) as State, "x509").split("\n")[1] ?? expect.fail();
    damage();
    const problem = problemOf(() => store.read());
    expect(problem).toContain(`E_ISSUER_STATE ${expected}`);
    expect(problem).not.toContain(secret);
  });

  it("says that there is none yet", () => {
    expect(problemOf(() => readState(folder, trustDomain))).toContain("E_ISSUER_NO_STATE");
  });

  it("overwrites what a crash left of a file that was being written", async () => {
    const store = openStore();
    writeFileSync(`${file()}.new`, "half", { mode: 0o600 });
    store.write(await authorities());
    expect(store.read()?.sequence).toBe(7);
  });
});

type State = Record<string, unknown> & { readonly x509: { key: string }[]; readonly jwt: { key: string }[] };
function edit(change: (state: State) => object): void {
  writeFileSync(file(), JSON.stringify(change(JSON.parse(readFileSync(file(), "utf8")) as State)));
}
function replace(make: (at: string) => void): void {
  rmSync(file());
  make(file());
}
function mapFirst(state: State, list: "x509" | "jwt", fields: object): object {
  return { ...state, [list]: state[list].map((member) => ({ ...member, ...fields })) };
}
function keyOf(state: State, list: "x509" | "jwt"): string {
  return state[list][0]?.key ?? "";
}
