import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type ApartProcess, type Program, startApart } from "./start-apart.ts";

const isLinux = process.platform === "linux";
if (!isLinux) console.warn("skipped: posix_spawn and how threads are scheduled, which need Linux");

function shell(script: string, more: Partial<Program> = {}): Program {
  return { file: "/bin/sh", args: ["-c", script], env: {}, inBackground: false, ...more };
}

/** Starts it, with all that it says. */
function start(program: Program): ApartProcess & { readonly said: Promise<string> } {
  const { promise: said, resolve } = Promise.withResolvers<string>();
  const pieces: Buffer[] = [];
  const take = (bytes: Uint8Array): void => void pieces.push(Buffer.from(bytes));
  return { ...startApart(program, { take, end: () => resolve(Buffer.concat(pieces).toString()) }), said };
}

/** What a thread's threads have as children, zombies too (proc(5)). */
function children(): readonly string[] {
  const tasks = readdirSync("/proc/self/task");
  return tasks.flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "latin1")
      .split(" ")
      .filter((pid) => pid !== ""),
  );
}

afterEach(() => void vi.restoreAllMocks());

const ways = isLinux ? ["posix_spawn", "Node"] : ["Node"];
describe.each(ways)("a process that %s starts", (way) => {
  const withWay = (): void => {
    if (way === "Node") vi.spyOn(process, "platform", "get").mockReturnValue("darwin");
  };

  it("reads a question to its end, and answers", async () => {
    withWay();
    const { input, said, ended } = start(shell("cat; echo :$A", { env: { A: "a b" } }));
    const question = "x".repeat(1_000_000);
    input.end(question);
    expect(await said).toBe(`${question}:a b\n`);
    expect(await ended).toBe("exit code 0");
  });

  it.each([
    ["exit 3", "exit code 3"],
    ["kill -KILL $$", "SIGKILL"],
  ])("says how it ended: %s", async (script, end) => {
    withWay();
    const { input, said, ended } = start(shell(script));
    input.on("error", () => undefined).end();
    await said;
    expect(await ended).toBe(end);
  });

  it("ends when it is told to, more than once too", async () => {
    withWay();
    const { input, ended, kill } = start(shell("sleep 1000"));
    input.on("error", () => undefined);
    kill();
    kill();
    expect(await ended).toBe("SIGKILL");
    kill();
  });

  it("keeps quiet on standard error", async () => {
    withWay();
    const { input, said, ended } = start(shell("echo nobody hears this >&2"));
    input.end();
    expect([await said, await ended]).toEqual(["", "exit code 0"]);
  });

  it.skipIf(!isLinux)("inherits no descriptor of this process", async () => {
    withWay();
    const list = shell("ls /proc/self/fd");
    const { input, said } = start(list);
    input.end();
    expect(await said).toBe(spawnSync(list.file, list.args, { encoding: "utf8" }).stdout);
  });

  it.skipIf(!isLinux)("lets others go first in the background, and is the first to end without memory", async () => {
    withWay();
    const script = "read line; cut -d ' ' -f 19,41 /proc/self/stat; cat /proc/self/oom_score_adj";
    const { input, said } = start(shell(script, { inBackground: true }));
    vi.restoreAllMocks();
    input.end("\n");
    // nice and policy: SCHED_IDLE; where Node starts it on another system, the lowest priority alone
    expect(await said).toBe(way === "Node" ? "19 0\n0\n" : "19 5\n1000\n");
  });
});

it.skipIf(!isLinux)("says why nothing was started", () => {
  expect(() => start({ file: "/nowhere", args: [], env: {}, inBackground: false })).toThrow(
    "posix_spawn: no such file or directory",
  );
});

it("says why Node started nothing", async () => {
  vi.spyOn(process, "platform", "get").mockReturnValue("darwin");
  const { input, ended } = start({ file: "/nowhere", args: [], env: {}, inBackground: true });
  input.on("error", () => undefined);
  expect(await ended).toContain("ENOENT");
});

it.skipIf(!isLinux)("leaves no zombie and no descriptor", async () => {
  const before = readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 20; i++) {
    const { input, said, ended, kill } = start(shell("cat"));
    input.on("error", () => undefined).end("x");
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    if (i % 2 === 0) await said;
    kill();
    // oxlint-disable-next-line no-await-in-loop -- as above
    await ended;
  }
  await new Promise((resolve) => void setImmediate(resolve));
  expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before);
  expect(children()).toEqual([]);
});
