import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { callOutcome, connectionContext } from "../../test/support/call-outcome.ts";
import { runCommand } from "../../test/support/run-command.ts";
import { serialiseEvent, serialiseOutcome } from "../../test/support/serialise-record.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { RuleId } from "../core/decision.ts";
import type { SpiffeId } from "../core/spiffe-id.ts";
import { run } from "./audit.ts";
import { formatRecordLine, parseRecordLine } from "./audit-lines.ts";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "countersign-tail-"));
  path = join(folder, "audit.jsonl");
});
afterEach(() => rmSync(folder, { recursive: true }));

async function tail(...argv: string[]): Promise<{ code: number; out: string[]; err: string }> {
  const { code, out, err } = await runCommand(run, ["tail", ...argv], folder);
  return { code, out: out.split("\n").slice(0, -1), err };
}
function line(over: Partial<CallOutcome> = {}, seq = 1): string {
  return serialiseOutcome(callOutcome(over), seq);
}
function shown(over: Partial<CallOutcome>, colour = false): string {
  const record = parseRecordLine(line(over));
  return record === undefined ? "" : formatRecordLine(record, colour);
}
const rule = "ns[shop]-policy[orders]-rule[0]" as RuleId;

describe("a line for people", () => {
  it.each<[string, string, string]>([
    [
      "allowed",
      shown({ durationMs: 3.25, rule }),
      `12:34:56.792 ALLOW inbound  example.org/ns/shop/sa/web → example.org/ns/shop/sa/orders  GET /orders/7  200  3.25 ms  ${rule}`,
    ],
    [
      "denied by a rule",
      shown({
        method: "DELETE",
        decision: "deny",
        status: 403,
        rule,
        reason: "E_POLICY_DENIED_BY_RULE",
        detail: "a DENY rule matched",
      }),
      `12:34:56.789 DENY  inbound  example.org/ns/shop/sa/web → example.org/ns/shop/sa/orders  DELETE /orders/7  403  ${rule}  E_POLICY_DENIED_BY_RULE  (a DENY rule matched)`,
    ],
    [
      "denied by default",
      shown({
        decision: "deny",
        status: 403,
        reason: "E_POLICY_DENIED_BY_DEFAULT",
        nearest: { rule, field: "to[0].operation.methods", expected: "POST", actual: "GET" },
      }),
      `12:34:56.789 DENY  inbound  example.org/ns/shop/sa/web → example.org/ns/shop/sa/orders  GET /orders/7  403  E_POLICY_DENIED_BY_DEFAULT  nearest ${rule} to[0].operation.methods: wants POST, has GET`,
    ],
    [
      "a refusal without identity",
      shown({
        connection: connectionContext({ source: undefined }),
        kind: "refusal",
        protocol: "unknown",
        method: undefined,
        decision: "deny",
        status: undefined,
        reason: "E_PLAINTEXT_REFUSED",
      }),
      "12:34:56.789 DENY  inbound  10.0.0.7:51234 (no identity) → example.org/ns/shop/sa/orders  unknown 0 in, 12 out  E_PLAINTEXT_REFUSED",
    ],
    [
      "the start of a TCP connection",
      shown({ kind: "connection", phase: "start", protocol: "tcp", method: undefined, status: undefined }),
      "12:34:56.789 ALLOW inbound  example.org/ns/shop/sa/web → example.org/ns/shop/sa/orders  tcp 0 in, 12 out  0 ms  begins",
    ],
  ])("shows what was %s", (_name, actual, expected) => {
    expect(actual).toBe(expected);
  });

  it("shows events that are no call", () => {
    const event = (over: Parameters<typeof serialiseEvent>[0]): string => {
      const record = parseRecordLine(serialiseEvent(over, Date.UTC(2030, 0, 1), 1));
      return record === undefined ? "" : formatRecordLine(record, false);
    };
    const source = { spiffeId: "spiffe://example.org/sa/web" as SpiffeId, serial: "1f", notAfterMs: 0, issuer: "CN=x" };
    expect(event({ kind: "identity", reason: "identity.rotated", source })).toBe(
      "00:00:00.000 NOTE  identity.rotated example.org/sa/web serial 1f",
    );
    expect(event({ kind: "policy", reason: "policy.loaded", policyVersion: "v2" })).toBe(
      "00:00:00.000 NOTE  policy.loaded version v2",
    );
    expect(
      event({ kind: "refusal", direction: "inbound", listener: "web", reason: "E_X", decision: "deny", count: 37 }),
    ).toBe("00:00:00.000 DENY  inbound  web E_X × 37");
  });

  it("is coloured only when asked", () => {
    expect(shown({}, true)).toContain("\u001b[32mALLOW \u001b[0m");
    expect(shown({}, false)).not.toContain("\u001b");
  });

  it("controls no terminal, whatever the record holds", () => {
    const hostile = fc.string({ unit: "binary", maxLength: 30 });
    fc.assert(
      fc.property(hostile, hostile, (text, other) => {
        const record = parseRecordLine(
          JSON.stringify({
            time: text,
            kind: other,
            direction: text,
            protocol: other,
            method: text,
            path: other,
            reason: text,
            detail: other,
            rule: text,
            nearest: { rule: other, field: text, expected: other, actual: text },
            source: { spiffe_id: text, address: other },
            destination: { address: text },
          }),
        );
        expect(record === undefined ? "" : formatRecordLine(record, false)).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
      }),
    );
  });

  it.each([
    "",
    "null",
    "[]",
    "7",
    '"x"',
    "{}",
    '{"time":1,"kind":"request"}',
    '{"time":"x"',
    '{"time":"x","kind":null}',
  ])("is not made of %s", (text) => {
    expect(parseRecordLine(text)).toBeUndefined();
  });

  it("survives members of any type", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom("source", "nearest", "bytes", "decision", "path"), fc.jsonValue()),
        (over) => {
          const record = parseRecordLine(JSON.stringify({ time: "x", kind: "request", protocol: "tcp", ...over }));
          expect(record === undefined ? "" : formatRecordLine(record, false)).toContain("→");
        },
      ),
    );
  });
});

describe("audit tail", () => {
  it("shows the newest records that the filter lets through", async () => {
    for (let i = 0; i < 30; i++)
      appendFileSync(path, line({ path: `/p${i}`, decision: i % 2 === 0 ? "allow" : "deny" }));
    expect((await tail(path)).out).toHaveLength(10);
    expect((await tail(path, "-n", "all")).out).toHaveLength(30);
    expect((await tail("-n", "0", path)).out).toEqual([]);
    const denied = await tail(path, "-n", "2", "--decision", "deny");
    expect(denied.out.map((text) => / (\/p\d+) /.exec(text)?.[1])).toEqual(["/p27", "/p29"]);
    expect(denied.code).toBe(0);
  });

  it.each<[string[], number]>([
    [["--principal", "example.org/ns/shop/sa/web"], 2],
    [["--principal", "spiffe://example.org/ns/*/sa/web"], 2],
    [["--principal", "*orders"], 2],
    [["--principal", "example.org/ns/shop/sa/we"], 0],
    [["--principal", "exampleXorg*"], 0],
    [["--principal", "*"], 2],
    [["--path", "/orders"], 1],
    [["--path", "/orders", "--decision", "deny"], 0],
    [["--direction", "inbound"], 2],
    [["--direction", "outbound"], 0],
    [[], 3],
  ])("filters by %j", async (argv, count) => {
    writeFileSync(
      path,
      line({ path: "/orders/1" }) +
        line({ path: "/x", decision: "deny" }) +
        serialiseEvent({ kind: "lifecycle", reason: "started" }, 0, 3),
    );
    expect((await tail(path, ...argv)).out).toHaveLength(count);
  });

  it("reads audit.jsonl here when nothing is named, and says so when there is none", async () => {
    expect(await tail()).toMatchObject({ code: 2, err: expect.stringContaining("there is no audit.jsonl here") });
    writeFileSync(path, line());
    expect((await tail()).out).toHaveLength(1);
  });

  it("merges files by time", async () => {
    const at = (second: number): Partial<CallOutcome> => ({ startedUs: second * 1e6, path: `/t${second}` });
    writeFileSync(`${path}.1`, line(at(1)) + line(at(3)));
    writeFileSync(path, line(at(2)) + line(at(4)));
    const { out } = await tail("-n", "3", path, `${path}.1`);
    expect(out.map((text) => / (\/t\d) /.exec(text)?.[1])).toEqual(["/t2", "/t3", "/t4"]);
  });

  it("reports bad lines, counts them, and goes on", async () => {
    writeFileSync(path, `${line()}half a rec\u001b[2J\n${line()}{"torn":`);
    const { code, out, err } = await tail(path);
    expect(out).toHaveLength(2);
    expect(code).toBe(1);
    expect(err).toContain("half a rec\\u001b[2J");
    expect(err).toMatch(/2 lines were no audit record\n$/);
  });

  it("prints records as ASCII JSON lines with --json", async () => {
    writeFileSync(path, `{"time":"x",\t"kind":"request","path":"\u009b\u202e"}\n${line()}`);
    const { out } = await tail("--json", path);
    expect(out[0]).toBe('{"time":"x","kind":"request","path":"\\u009b\\u202e"}');
    expect(`${out[1]}\n`).toBe(line());
  });

  it("fails on a file that cannot be read, with the fix", async () => {
    const { code, err } = await tail(join(folder, "none.jsonl"));
    expect(code).toBe(1);
    expect(err).toMatch(/^E_AUDIT_FILE .*none\.jsonl.*; fix: /);
    expect((await tail(folder)).code).toBe(1);
  });

  it.each([
    [["-n", "-1"]],
    [["-n", "x"]],
    [["--decision", "maybe"]],
    [["--direction", "up"]],
    [["--unknown"]],
    [["-c", "x.yaml", "a.jsonl"]],
  ])("refuses %j as wrong usage", async (argv) => {
    writeFileSync(path, line());
    expect((await tail(...argv)).code).toBe(2);
  });

  it("follows through a rotation until it is stopped", async () => {
    writeFileSync(path, line({ path: "/a" }) + line({ path: "/b" }));
    const stop = new AbortController();
    const seen: string[] = [];
    let waiting: { count: number; resolve: () => void } | undefined;
    const whenSeen = (count: number): Promise<void> =>
      new Promise((resolve) => {
        if (seen.length >= count) resolve();
        else waiting = { count, resolve };
      });
    const done = run(["tail", "-f", "-n", "1", path], {
      out: (text) => {
        seen.push(/ (\/\w+) /.exec(text)?.[1] ?? text);
        if (waiting !== undefined && seen.length >= waiting.count) waiting.resolve();
      },
      err: () => undefined,
      env: {},
      cwd: folder,
      colour: false,
      signal: stop.signal,
    });
    await whenSeen(1);
    const half = line({ path: "/d" });
    appendFileSync(path, line({ path: "/c" }) + half.slice(0, 20));
    await whenSeen(2);
    appendFileSync(path, half.slice(20));
    renameSync(path, `${path}.1`);
    writeFileSync(path, line({ path: "/e" }));
    await whenSeen(4);
    stop.abort();
    expect(await done).toBe(0);
    expect(seen).toEqual(["/b", "/c", "/d", "/e"]);
  });
});
