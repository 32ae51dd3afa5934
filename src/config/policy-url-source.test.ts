import { generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type FakeClock, fakeClock } from "../../test/support/fake-clock.ts";
import { CountersignError, CountersignErrors } from "../core/errors.ts";
import { type FetchedPolicies, type PolicyFetch, PolicyFetchLater } from "./fetch-policies.ts";
import { keptFile } from "./kept-policies.ts";
import { signPolicies } from "./policy-signature.ts";
import { openPolicyUrl } from "./policy-url-source.ts";
import type { PolicyUrlConfig } from "./sidecar-config.ts";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const privatePem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const URL = "https://p.example/orders.yaml";

let root: string;
let clock: FakeClock;
let stop: AbortController;
/** What the server has, or how it fails. */
let content: string | CountersignError;
let signature: string;
let asked: { url: string; etag: string | undefined }[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "countersign-url-"));
  writeFileSync(join(root, "p.pub"), publicKey.export({ type: "spki", format: "pem" }));
  clock = fakeClock();
  stop = new AbortController();
  content = "one";
  signature = "";
  asked = [];
});
afterEach(() => {
  stop.abort();
  rmSync(root, { recursive: true, force: true, maxRetries: 10 });
});

const fetch: PolicyFetch = (url, etag) => {
  asked.push({ url, etag });
  if (content instanceof CountersignError) return Promise.reject(content);
  if (url.endsWith(".sig")) return Promise.resolve({ kind: "content", text: signature, etag: undefined });
  const own = `"${content}"`;
  const answer: FetchedPolicies = etag === own ? { kind: "unchanged" } : { kind: "content", text: content, etag: own };
  return Promise.resolve(answer);
};

const config = (over: Partial<PolicyUrlConfig> = {}): PolicyUrlConfig => ({
  url: URL,
  publicKey: undefined,
  name: "orders.yaml",
  ca: undefined,
  refreshMs: 30_000,
  maxAgeMs: 3_600_000,
  cache: join(root, "cache"),
  at: { file: "c.yaml", line: 3, column: 5 },
  ...over,
});
const signed = (over: Partial<PolicyUrlConfig> = {}): PolicyUrlConfig =>
  config({ publicKey: join(root, "p.pub"), ...over });
const open = (one = config()) => openPolicyUrl(one, { clock, random: () => 0.5, fetch });
const failure = (message = "down"): CountersignError => new CountersignError("E_POLICY_FETCH", message);
const sign = (version: number, text = String(content)): void => {
  signature = JSON.stringify(signPolicies(text, "orders.yaml", version, privatePem, ""));
};
const unsign = (): void => {
  signature = "";
};
const inForce = (text: string) => [{ file: URL, text }];

/** Opens, watches and keeps. */
async function start(one = config()) {
  const source = await open(one);
  source.newest.accept();
  await source.keep();
  const changes: string[] = [];
  let states = 0;
  const { reloadNow } = source.watch({
    onChange: () => void changes.push(source.newest.files.map(({ text }) => text).join()),
    onState: () => void states++,
    signal: stop.signal,
  });
  /** Lets the look happen that is due. */
  const look = async (ms: number): Promise<void> => {
    const before = states;
    clock.advance(ms);
    await vi.waitFor(() => expect(states).toBe(before + 1), { interval: 1 });
  };
  return { source, changes, look, reloadNow };
}

describe("policies at a URL", () => {
  it("are asked for again with their ETag, and reported when they are other ones", async () => {
    const { source, changes, look } = await start();
    expect(source.newest.files).toEqual(inForce("one"));
    await look(30_000);
    expect(asked).toEqual([
      { url: URL, etag: undefined },
      { url: URL, etag: '"one"' },
    ]);
    expect(changes).toEqual([]);
    expect(source.state).toMatchObject({ name: URL, confirmedAtMs: clock.nowMs(), problem: undefined });
    content = "two";
    await look(30_000);
    expect(changes).toEqual(["two"]);
  });

  it("stay as they are while the server fails, which is asked ever more rarely, and age", async () => {
    const { source, changes, look } = await start();
    content = failure();
    const openedMs = clock.nowMs();
    await look(30_000);
    expect(source.state.problem?.message).toBe("down");
    expect(source.state.confirmedAtMs).toBe(openedMs);
    clock.advance(59_999);
    expect(asked).toHaveLength(2);
    await look(1);
    for (const wait of [120_000, 240_000, 480_000, 600_000, 600_000, 600_000]) await look(wait);
    expect(source.state.problem?.message).toBe("down");
    clock.advance(500_000);
    await look(100_000);
    await look(600_000);
    expect(source.state.problem).toMatchObject({ code: "E_POLICY_STALE" });
    content = "two";
    await look(600_000);
    expect(source.state.problem).toBeUndefined();
    expect(changes).toEqual(["two"]);
    await look(30_000);
  });

  it("are asked for when the server said so, not before", async () => {
    const { look } = await start();
    content = new PolicyFetchLater("busy", 900_000);
    await look(30_000);
    clock.advance(899_999);
    expect(asked).toHaveLength(2);
    await look(1);
  });

  it("are looked at now on SIGHUP, one look at a time", async () => {
    const { changes, reloadNow } = await start();
    content = "two";
    await Promise.all([reloadNow(), reloadNow()]);
    expect(changes).toEqual(["two"]);
    expect(asked).toHaveLength(2);
    expect(clock.pending).toBe(1);
  });

  it("hold no timer and report nothing after the signal", async () => {
    const { changes, reloadNow } = await start();
    content = "two";
    const looking = reloadNow();
    stop.abort();
    await looking;
    expect({ changes, pending: clock.pending }).toEqual({ changes: [], pending: 0 });
  });
});

describe("the kept copy", () => {
  it("starts a sidecar while the server is away, and says so", async () => {
    await start();
    content = failure();
    clock.advance(3_600_000);
    const source = await open();
    expect(source.newest.files).toEqual(inForce("one"));
    expect(source.state.problem?.message).toBe("down");
    expect(statSync(keptFile(join(root, "cache"), URL)).mode & 0o777).toBe(0o600);
    expect(statSync(join(root, "cache")).mode & 0o777).toBe(0o700);
  });

  it("does not, once it is older than maxAge", async () => {
    await start();
    content = failure();
    clock.advance(3_600_001);
    await expect(open()).rejects.toMatchObject({
      code: "E_POLICY_STALE",
      message: `${URL}: the server last confirmed the policies 60 minutes ago; down`,
      at: { file: "c.yaml", line: 3, column: 5 },
    });
  });

  it.each([
    [5, "starts", undefined],
    [6, "does not start", "E_POLICY_STALE"],
  ])("that was confirmed %i minutes in the future %s a sidecar", async (minutes, _, code) => {
    clock.advance(minutes * 60_000);
    await start();
    clock = fakeClock();
    content = failure();
    if (code !== undefined) await expect(open()).rejects.toMatchObject({ code, message: /in the future.*; down/ });
    else expect((await open()).newest.files).toEqual(inForce("one"));
  });

  it("of a clock that was ahead is written anew with the next confirmation, and what is in force is stale until then", async () => {
    const { source, look } = await start();
    clock.advance(-365 * 86_400_000);
    expect(source.state.problem?.code).toBe("E_POLICY_STALE");
    clock.advance(365 * 86_400_000);
    const file = keptFile(join(root, "cache"), URL);
    const kept = JSON.parse(readFileSync(file, "utf8")) as { readonly confirmedAtMs: number };
    writeFileSync(file, JSON.stringify({ ...kept, confirmedAtMs: kept.confirmedAtMs + 365 * 86_400_000 }));
    const again = await open();
    again.newest.accept();
    await again.keep();
    expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ confirmedAtMs: clock.nowMs() });
    await look(30_000);
    expect(source.state.problem).toBeUndefined();
  });

  it("does not grow old while the server confirms it", async () => {
    const { source, look } = await start();
    for (let i = 0; i < 20; i++) {
      await look(300_000);
      await source.keep();
    }
    content = failure();
    clock.advance(3_000_000);
    expect((await open()).newest.files).toEqual(inForce("one"));
  });

  it("is only of what came into force", async () => {
    const { source, look } = await start();
    content = "broken";
    await look(30_000);
    await source.keep();
    content = failure();
    expect((await open()).newest.files).toEqual(inForce("one"));
  });

  it.each<[string, () => void, string]>([
    ["others can write", () => chmodSync(keptFile(join(root, "cache"), URL), 0o666), "can be written by other users"],
    ["lies where others can", () => chmodSync(join(root, "cache"), 0o777), "can be written by other users"],
    ["is no JSON", () => writeFileSync(keptFile(join(root, "cache"), URL), "{"), "cannot be read (not JSON)"],
    [
      "is of another URL",
      () => writeFileSync(keptFile(join(root, "cache"), URL), '{"url":"x"}'),
      "is not what was written",
    ],
  ])("that %s is not used", async (_, spoil, why) => {
    await start();
    spoil();
    content = failure();
    await expect(open()).rejects.toMatchObject({
      code: "E_POLICY_FETCH",
      message: expect.stringContaining(`${URL}: down; the kept copy is not used: `),
    });
    await expect(open()).rejects.toMatchObject({ message: expect.stringContaining(why) });
    content = "two";
    const { newest, state } = await open();
    expect(newest.files).toEqual(inForce("two"));
    expect(state.keepProblem).toMatchObject({ code: "E_POLICY_KEPT", message: expect.stringContaining(why) });
  });

  it("that cannot be written is an error of its own", async () => {
    writeFileSync(join(root, "file"), "");
    const source = await open(config({ cache: join(root, "file") }));
    source.newest.accept();
    await source.keep();
    expect(source.state.keepProblem).toMatchObject({ code: "E_POLICY_KEPT" });
    // as soon as it can be
    rmSync(join(root, "file"));
    await source.keep();
    expect(source.state.keepProblem).toBeUndefined();
  });

  it("is written once at a time, and not again without need", async () => {
    const source = await open();
    source.newest.accept();
    await Promise.all([source.keep(), source.keep(), source.keep()]);
    expect([source.state.keepProblem, readdirSync(join(root, "cache"))]).toEqual([undefined, [expect.any(String)]]);
    const file = keptFile(join(root, "cache"), URL);
    rmSync(file);
    await source.keep();
    expect(existsSync(file)).toBe(false);
  });

  it("starts a sidecar when there is no answer within 2 s, which then comes as a change", async () => {
    await start();
    const answer = Promise.withResolvers<FetchedPolicies>();
    const opening = openPolicyUrl(config(), { clock, random: () => 0.5, fetch: () => answer.promise });
    await vi.waitFor(() => expect(clock.pending).toBe(2), { interval: 1 });
    clock.advance(1_999);
    expect(await Promise.race([opening, new Promise((resolve) => setImmediate(resolve, "waits"))])).toBe("waits");
    clock.advance(1);
    const source = await opening;
    expect(source.lastGood?.files).toEqual(inForce("one"));
    expect(source.state.problem).toMatchObject({ code: "E_POLICY_FETCH", message: /no answer yet/ });
    const changed = Promise.withResolvers<undefined>();
    source.watch({ onChange: () => changed.resolve(undefined), onState: () => undefined, signal: stop.signal });
    answer.resolve({ kind: "content", text: "two", etag: undefined });
    await changed.promise;
    expect([source.newest.files, source.state.problem]).toEqual([inForce("two"), undefined]);
  });

  it("is not used before a server that answers in 2 s, nor while it is too old", async () => {
    await start();
    const slow: PolicyFetch = () =>
      new Promise(
        (resolve) => void clock.after(1_900, () => resolve({ kind: "content", text: "two", etag: undefined })),
      );
    const opening = openPolicyUrl(config(), { clock, random: () => 0.5, fetch: slow });
    await vi.waitFor(() => expect(clock.pending).toBe(3), { interval: 1 });
    clock.advance(1_900);
    expect((await opening).newest.files).toEqual(inForce("two"));
    clock.advance(3_600_001);
    const late = openPolicyUrl(config(), { clock, random: () => 0.5, fetch: slow });
    await vi.waitFor(() => expect(clock.pending).toBe(2), { interval: 1 });
    clock.advance(1_900);
    expect((await late).lastGood).toBeUndefined();
  });

  it("is what the source falls back to when what the server has is refused", async () => {
    sign(7);
    const { source } = await start(signed());
    expect(source.refused).toBeUndefined();
    content = "broken";
    sign(8);
    const next = await open(signed());
    expect([next.newest.files, next.lastGood?.files]).toEqual([inForce("broken"), inForce("one")]);
    const errors = new CountersignErrors([new CountersignError("E_POLICY_TYPE", "broken")]);
    next.lastGood?.accept();
    next.newest.refuse(errors);
    await next.keep();
    expect(next.refused).toBe(errors);
    expect(next.state).toMatchObject({ version: 7, newest: { version: 8, refused: errors }, problem: undefined });
    expect(next.state.digest).not.toBe(next.state.newest?.digest);
    content = failure();
    expect((await open(signed())).newest.files).toEqual(inForce("one"));
  });
});

describe("signed policies", () => {
  it("are taken with a version that rises", async () => {
    sign(7);
    const { source, changes, look } = await start(signed());
    expect(source.state.version).toBe(7);
    content = "two";
    sign(8);
    await look(30_000);
    expect(source.state).toMatchObject({ version: 7, newest: { version: 8, refused: undefined } });
    source.newest.accept();
    expect({ changes, version: source.state.version }).toEqual({ changes: ["two"], version: 8 });
  });

  it.each<[string, () => void, string]>([
    ["without a signature", unsign, "E_POLICY_SIGNATURE"],
    ["signed for another text", () => sign(9, "three"), "E_POLICY_SIGNATURE"],
    ["with an older version", () => sign(6), "E_POLICY_ROLLBACK"],
    ["with the version of others", () => sign(7), "E_POLICY_ROLLBACK"],
  ])("%s change nothing", async (_, spoil, code) => {
    sign(7);
    const { source, changes, look } = await start(signed());
    content = "two";
    spoil();
    await look(30_000);
    expect(changes).toEqual([]);
    expect(source.state.problem?.code).toBe(code);
  });

  it("cannot be rolled back over a restart", async () => {
    content = "old";
    sign(6);
    const old = signature;
    content = "one";
    sign(7);
    await start(signed());
    content = "old";
    signature = old;
    const source = await open(signed());
    expect(source.newest.files).toEqual(inForce("one"));
    expect(source.state.problem?.code).toBe("E_POLICY_ROLLBACK");
  });

  it("of the same text count with the version that they were last signed with, over a restart too", async () => {
    sign(1);
    const { source, look } = await start(signed({ url: "http://p.example/orders.yaml" }));
    sign(9);
    await look(30_000);
    await source.keep();
    expect(source.state.version).toBe(9);
    content = "two";
    sign(5);
    const next = await open(signed({ url: "http://p.example/orders.yaml" }));
    expect(next.state).toMatchObject({ version: 9, problem: { code: "E_POLICY_ROLLBACK" } });
  });

  describe("over http", () => {
    const url = "http://p.example/orders.yaml";

    it("are fetched whole each time, with their signature", async () => {
      sign(7);
      const { look } = await start(signed({ url }));
      await look(30_000);
      expect(asked).toEqual([url, `${url}.sig`, url, `${url}.sig`].map((one) => ({ url: one, etag: undefined })));
    });

    it("are only confirmed by a version that rises: anybody on the path can repeat the last", async () => {
      sign(7);
      const { source, look } = await start(signed({ url, maxAgeMs: 60_000 }));
      const firstMs = clock.nowMs();
      await look(30_000);
      await look(30_000);
      expect(source.state).toMatchObject({ confirmedAtMs: firstMs, problem: undefined });
      await look(30_000);
      expect(source.state).toMatchObject({ confirmedAtMs: firstMs, problem: { code: "E_POLICY_STALE" } });
      // a server that answers starts a sidecar, a kept copy as old does not
      expect((await open(signed({ url, maxAgeMs: 60_000 }))).state.problem?.code).toBe("E_POLICY_STALE");
      sign(8);
      await look(30_000);
      expect(source.state).toMatchObject({ version: 8, confirmedAtMs: clock.nowMs(), problem: undefined });
    });

    it("that were confirmed by a clock that was ahead count from now on", async () => {
      sign(7);
      clock.advance(86_400_000);
      await start(signed({ url }));
      clock = fakeClock();
      const source = await open(signed({ url }));
      source.newest.accept();
      await source.keep();
      const kept: unknown = JSON.parse(readFileSync(keptFile(join(root, "cache"), url), "utf8"));
      expect([source.state.problem, kept]).toMatchObject([undefined, { confirmedAtMs: clock.nowMs() }]);
    });
  });

  it("are fetched anew once their key is another one", async () => {
    sign(7);
    const { source, look } = await start(signed());
    await look(30_000);
    expect(asked.at(-1)).toEqual({ url: URL, etag: '"one"' });
    const other = generateKeyPairSync("ed25519");
    writeFileSync(join(root, "p.pub"), other.publicKey.export({ type: "spki", format: "pem" }));
    await look(30_000);
    expect(source.state).toMatchObject({ version: 7, problem: { code: "E_POLICY_SIGNATURE" } });
    const pem = other.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    signature = JSON.stringify(signPolicies("one", "orders.yaml", 8, pem, ""));
    await look(60_000);
    expect(source.state).toMatchObject({ version: 8, problem: undefined });
  });

  it("cannot be rolled back by a new configuration either, even where nothing could be kept", async () => {
    sign(7);
    const taken = new Map([[URL, 7]]);
    const again = (): ReturnType<typeof open> => openPolicyUrl(signed(), { clock, random: () => 0.5, fetch, taken });
    expect((await again()).state.version).toBe(7);
    sign(6);
    await expect(again()).rejects.toMatchObject({ code: "E_POLICY_ROLLBACK" });
    const old = await open(signed());
    old.newest.accept();
    await old.keep();
    content = failure();
    await expect(again()).rejects.toMatchObject({ code: "E_POLICY_FETCH" });
  });

  it("are verified again in the kept copy", async () => {
    sign(7);
    await start(signed());
    const file = keptFile(join(root, "cache"), URL);
    writeFileSync(file, readFileSync(file, "utf8").replace('"one"', '"evil"'));
    content = failure();
    await expect(open(signed())).rejects.toMatchObject({
      code: "E_POLICY_FETCH",
      message: /down; the kept copy is not used: the signature is not of these policies/,
    });
  });

  it("do not start without their key, or from an unsigned kept copy", async () => {
    await start();
    content = failure();
    await expect(open(signed())).rejects.toMatchObject({ code: "E_POLICY_FETCH" });
    await expect(open(signed({ publicKey: join(root, "gone") }))).rejects.toMatchObject({ code: "E_POLICY_SIGNATURE" });
  });
});

describe("a source under another configuration", () => {
  it("keeps what it knows, and when it is to look next", async () => {
    const first = await open();
    first.newest.accept();
    const before = new AbortController();
    first.watch({ onChange: () => undefined, onState: () => undefined, signal: before.signal });
    clock.advance(20_000);
    before.abort();
    content = failure();
    const source = first.resume(config({ maxAgeMs: 60_000, at: { file: "c.yaml", line: 9, column: 1 } }));
    expect(source?.newest).toBe(first.newest);
    let looks = 0;
    source?.watch({ onChange: () => undefined, onState: () => void looks++, signal: stop.signal });
    clock.advance(9_999);
    expect(asked).toHaveLength(1);
    clock.advance(1);
    await vi.waitFor(() => expect(looks).toBe(1), { interval: 1 });
    expect(source?.state).toMatchObject({ confirmedAtMs: clock.nowMs() - 30_000, problem: { message: "down" } });
    clock.advance(30_001);
    expect(source?.state.problem?.code).toBe("E_POLICY_STALE");
    // what it had begun to look at is looked at anew
    expect(first.state.problem?.message).toBe("down");
  });

  it("that was looking is asked again, and what it was told before is not taken", async () => {
    const first = await open();
    const before = new AbortController();
    first.watch({ onChange: () => undefined, onState: () => undefined, signal: before.signal });
    content = "two";
    clock.advance(30_000);
    before.abort();
    const source = first.resume(config());
    const changed = Promise.withResolvers<undefined>();
    source?.watch({ onChange: () => changed.resolve(undefined), onState: () => undefined, signal: stop.signal });
    clock.advance(0);
    await changed.promise;
    expect(source?.newest.files).toEqual(inForce("two"));
    expect(asked).toHaveLength(3);
  });

  it.each<[string, Partial<PolicyUrlConfig>]>([
    ["URL", { url: "https://p.example/other.yaml" }],
    ["key", { publicKey: "/p.pub" }],
    ["name", { name: "other" }],
    ["authority", { ca: "/ca.pem" }],
    ["cache", { cache: "/cache" }],
  ])("is another source with another %s", async (_, over) => {
    expect((await open()).resume(config(over))).toBeUndefined();
  });
});
