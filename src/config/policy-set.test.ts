import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type FakeClock, fakeClock } from "../../test/support/fake-clock.ts";
import { CountersignError } from "../core/errors.ts";
import type { PolicyFetch } from "./fetch-policies.ts";
import { openPolicySet, type PolicySet } from "./policy-set.ts";
import type { PolicyUrlConfig } from "./sidecar-config.ts";

let root: string;
let clock: FakeClock;
let stop: AbortController;
/** By URL; a URL without one is away. */
let served: Map<string, string | Promise<string>>;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "countersign-set-"));
  clock = fakeClock();
  stop = new AbortController();
  served = new Map();
  writeFileSync(join(root, "p.yaml"), "files");
});
afterEach(() => {
  stop.abort();
  rmSync(root, { recursive: true, force: true, maxRetries: 10 });
});

const fetch: PolicyFetch = async (url) => {
  const text = await served.get(url);
  if (text === undefined) throw new CountersignError("E_POLICY_FETCH", `${url} is away`);
  return { kind: "content", text, etag: undefined };
};
const url = (name: string, over: Partial<PolicyUrlConfig> = {}): PolicyUrlConfig => ({
  url: `https://${name}.example/p`,
  publicKey: undefined,
  name: "p",
  ca: undefined,
  refreshMs: 30_000,
  maxAgeMs: 60_000,
  // nothing is kept there
  cache: join(root, "p.yaml"),
  at: { file: "c.yaml" },
  ...over,
});
const config = (...policyUrls: readonly PolicyUrlConfig[]) => ({
  policies: [{ path: join(root, "p.yaml"), at: { file: "c.yaml" } }],
  policyUrls,
});
async function open(...urls: readonly PolicyUrlConfig[]): Promise<PolicySet> {
  const set = await openPolicySet(config(...urls), clock, { fetch, random: () => 0.5 });
  for (const { newest } of set.candidates) newest.accept();
  return set;
}
const textsOf = (set: PolicySet | undefined): readonly string[] | undefined =>
  set?.candidates.flatMap(({ newest }) => newest.files.map(({ text }) => text));
const never = new AbortController().signal;

it("has every error of a first set", async () => {
  await expect(open(url("a"), url("b"))).rejects.toMatchObject({
    errors: [{ code: "E_POLICY_FETCH" }, { code: "E_POLICY_FETCH" }],
  });
});

describe("under another configuration", () => {
  it("sources that stay are not fetched, however long their server has been away, and keep their age", async () => {
    served.set("https://a.example/p", "a");
    const set = await open(url("a"));
    served.clear();
    clock.advance(120_000);
    const next = config(url("a", { refreshMs: 10_000, at: { file: "c.yaml", line: 7 } }));
    const following = set.follow(next, await set.openNew(next, never));
    const followed = await following;
    expect(textsOf(followed)).toEqual(["files", "a"]);
    expect(followed?.states).toMatchObject([
      { confirmedAtMs: clock.nowMs() - 120_000, problem: { code: "E_POLICY_STALE" } },
    ]);
    expect(followed?.candidates[1]?.lastGood?.files).toMatchObject([{ text: "a" }]);
  });

  it("new sources are opened, and others go", async () => {
    served.set("https://a.example/p", "a").set("https://b.example/p", "b");
    const set = await open(url("a"));
    const next = config(url("b"));
    expect(textsOf(await set.follow(next, await set.openNew(next, never)))).toEqual(["files", "b"]);
  });

  it("a new source that is away is an error", async () => {
    served.set("https://a.example/p", "a");
    const set = await open(url("a"));
    await expect(set.openNew(config(url("a"), url("b")), never)).rejects.toMatchObject({
      errors: [{ code: "E_POLICY_FETCH" }],
    });
  });

  it("nothing follows without a source that was not opened", async () => {
    served.set("https://a.example/p", "a");
    expect(await (await open()).follow(config(url("a")), [])).toBeUndefined();
  });

  it("files are read anew, and have nothing to fall back to", async () => {
    const set = await open();
    writeFileSync(join(root, "p.yaml"), "other");
    const following = set.follow(config(), []);
    await vi.waitFor(() => expect(clock.pending).toBe(1), { interval: 1 });
    clock.advance(200);
    const followed = await following;
    expect(textsOf(followed)).toEqual(["other"]);
    expect(followed?.candidates[0]?.lastGood).toBeUndefined();
  });
});

it("says why files are not in force: refused, or not to be read, until they are", async () => {
  const set = await open();
  const seen: string[] = [];
  const watch = set.watch({
    onChange: () => void seen.push("change"),
    onFailed: () => void seen.push("failed"),
    onState: () => undefined,
    signal: stop.signal,
  });
  const reload = async (): Promise<void> => {
    let isDone = false;
    void watch.reloadNow().then(() => {
      isDone = true;
    });
    await vi.waitFor(
      () => {
        clock.advance(200);
        expect(isDone).toBe(true);
      },
      { interval: 2 },
    );
  };
  rmSync(join(root, "p.yaml"));
  await reload();
  expect([seen, set.refused?.errors.map(({ code }) => code)]).toEqual([["failed"], ["E_CONFIG_FILE"]]);
  writeFileSync(join(root, "p.yaml"), "files");
  await reload();
  expect([seen, set.refused]).toEqual([["failed", "change"], undefined]);
});

it("reads files on SIGHUP after 2 s, however long a server takes", async () => {
  served.set("https://a.example/p", "a");
  const set = await open(url("a", { refreshMs: 3_600_000 }));
  served.set("https://a.example/p", new Promise(() => undefined));
  const watch = set.watch({
    onChange: () => undefined,
    onFailed: () => undefined,
    onState: () => undefined,
    signal: stop.signal,
  });
  const since = clock.nowMs();
  let doneMs: number | undefined;
  void watch.reloadNow().then(() => {
    doneMs = clock.nowMs() - since;
  });
  await vi.waitFor(
    () => {
      clock.advance(100);
      expect(doneMs).toBeGreaterThanOrEqual(2_000);
    },
    { interval: 2 },
  );
});
