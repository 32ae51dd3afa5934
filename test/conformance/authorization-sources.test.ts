import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { parse } from "yaml";
import { createSidecarPolicies, type SidecarPolicies } from "../../src/cli/sidecar-policies.ts";
import type { PolicyFetch } from "../../src/config/fetch-policies.ts";
import { keptFile } from "../../src/config/kept-policies.ts";
import { parseSidecarConfig } from "../../src/config/load-sidecar-config.ts";
import { newestThatFit } from "../../src/config/newest-that-fit.ts";
import { openPolicySet, type PolicySet } from "../../src/config/policy-set.ts";
import { signPolicies } from "../../src/config/policy-signature.ts";
import type { FilesWatch } from "../../src/config/watch-files.ts";
import { CountersignError, CountersignErrors } from "../../src/core/errors.ts";
import { fakeClock } from "../support/fake-clock.ts";

// The rows of authorization/sources.yaml: folders and a server of policies as a running sidecar has them, by a clock of the test's own.

interface Served {
  /** Names of policies. */
  readonly has?: readonly string[];
  /** The version that is signed, or `none` where a key is configured. */
  readonly signed?: number | "none";
}

interface Expected {
  /** Names of the policies in force, or the code with which the sidecar does not start. */
  readonly expect?: readonly string[] | string;
}

interface Step extends Expected {
  readonly write?: Readonly<Record<string, readonly string[]>>;
  readonly remove?: string;
  readonly hangup?: boolean;
  readonly server?: Served | "away";
  readonly restart?: boolean;
  /** Time; after a hangup at most so much. */
  readonly pass?: string;
  /** The folder was another one at the second look, which is then the first of two again. */
  readonly readAgain?: boolean;
  /** The code for which a set did not come into force. */
  readonly refused?: string;
  /** The code of what the source says of itself. */
  readonly problem?: string;
  /** That was signed with what is in force. */
  readonly version?: number;
}

interface Case extends Expected {
  readonly spec: string;
  readonly start?: Readonly<Record<string, readonly string[]>>;
  readonly url?: Served & { readonly address: string };
  /** Mode of the kept copy. */
  readonly kept?: string;
  readonly steps?: readonly Step[];
}

interface Running {
  readonly set: PolicySet;
  readonly policies: SidecarPolicies;
  readonly watch: FilesWatch;
  /** Codes for which sets were refused. */
  readonly refused: string[];
}

const cases = parse(readFileSync(join(import.meta.dirname, "authorization/sources.yaml"), "utf8")) as readonly Case[];
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const privatePem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const soon = { interval: 2, timeout: 5000 };
const MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, min: 60_000 };

function textOf(names: readonly string[]): string {
  const head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n";
  return names
    .map(
      (name) =>
        `${head}metadata: { name: ${name}, namespace: shop }\nspec: { ${name === "broken" ? "rule" : "rules"}: [{}] }\n`,
    )
    .join("---\n");
}

function milliseconds(text: string): number {
  const [count, unit = ""] = text.split(" ");
  return Number(count) * (MS[unit] ?? Number.NaN);
}

it.each(cases)("$spec", async ({ start = {}, url, kept, steps = [], expect: expected }) => {
  const root = mkdtempSync(join(tmpdir(), "countersign-sources-"));
  // a copy may be on its way into the folder when the test ends
  onTestFinished(() => rm(root, { recursive: true, force: true, maxRetries: 10 }));
  const clock = fakeClock();
  let stop = new AbortController();
  onTestFinished(() => stop.abort());
  const write = (files: Readonly<Record<string, readonly string[]>>): void => {
    for (const [name, names] of Object.entries(files)) writeFileSync(join(root, "p", name), textOf(names));
  };
  mkdirSync(join(root, "p"));
  write(start);
  writeFileSync(join(root, "p.pub"), publicKey.export({ type: "spki", format: "pem" }));
  let server: Served | "away" = url ?? "away";
  const fetch: PolicyFetch = (address, etag) => {
    if (server === "away") return Promise.reject(new CountersignError("E_POLICY_FETCH", "away"));
    const text = textOf(server.has ?? []);
    if (address.endsWith(".sig")) {
      const isSigned = typeof server.signed === "number";
      const signature = isSigned
        ? JSON.stringify(signPolicies(text, "p.yaml", Number(server.signed), privatePem, ""))
        : "";
      return Promise.resolve({ kind: "content", text: signature, etag: undefined });
    }
    const own = JSON.stringify(server.has);
    return Promise.resolve(etag === own ? { kind: "unchanged" } : { kind: "content", text, etag: own });
  };
  const key = url?.signed === undefined ? "" : ", publicKey: p.pub";
  const item = url === undefined ? "" : `, { url: '${url.address}', refresh: 30s, maxAge: 1h, cache: cache${key} }`;
  const yaml = `workload: { namespace: shop }\npolicies: [{ path: p }${item}]\n`.replace("{ path: p }", "p/");

  async function run(): Promise<Running> {
    const env = { SPIFFE_ENDPOINT_SOCKET: "unix:///run/agent.sock" };
    const { config } = parseSidecarConfig(yaml, join(root, "c.yaml"), env);
    const set = await openPolicySet(config, clock, { fetch, random: () => 0.5 });
    const { compiled: policies, settle } = await newestThatFit(set.candidates, (files) =>
      createSidecarPolicies(config, files, () => clock.nowMs()),
    );
    settle();
    await set.keep();
    const refused: string[] = codesIn(set);
    const take = async (): Promise<void> => {
      const choice = await newestThatFit(set.candidates, (files) => policies.prepare({ files }));
      choice.compiled.commit();
      choice.settle();
      refused.push(...codesIn(set));
      await set.keep();
    };
    const watch = set.watch({
      onChange: () => void take(),
      onFailed: () => void refused.push(...codesIn(set)),
      onState: () => void set.keep(),
      signal: stop.signal,
    });
    await waiting(0);
    return { set, policies, watch, refused };
  }
  /** Until the folder is watched and the server's next turn is planned, and beside them so many waits: time that passes before is lost. */
  const waiting = (beside: number): Promise<void> =>
    vi.waitFor(() => expect(clock.pending).toBeGreaterThanOrEqual((url === undefined ? 1 : 2) + beside), soon);
  const names = ({ policies }: Running) => policies.state.policy.policies.map(({ name }) => name);
  const begin = async (wanted: Expected["expect"]): Promise<Running | undefined> => {
    if (typeof wanted !== "string") return run();
    expect(await run().then(() => "it starts", codeOf)).toBe(wanted);
    return undefined;
  };

  let running = await begin(expected);
  if (running !== undefined && expected !== undefined) expect(names(running)).toEqual(expected);
  if (kept !== undefined && url !== undefined)
    expect((statSync(keptFile(join(root, "cache"), url.address)).mode & 0o777).toString(8)).toBe(kept);
  for (const step of steps) {
    const refusedBefore = running?.refused.length ?? 0;
    if (step.server !== undefined) server = step.server;
    write(step.write ?? {});
    if (step.remove !== undefined) rmSync(join(root, "p", step.remove));
    if (running !== undefined) await waiting(step.write === undefined && step.remove === undefined ? 0 : 1);
    let leftMs = milliseconds(step.pass ?? "0 ms");
    if (step.hangup === true) void running?.watch.reloadNow();
    if (step.restart === true) {
      await running?.set.keep();
      stop.abort();
      stop = new AbortController();
      clock.advance(leftMs);
      running = await begin(step.expect);
      if (running === undefined) continue;
    } else if (step.hangup !== true) clock.advance(leftMs);
    if (step.readAgain === true) await waiting(1);
    const now = running;
    if (now === undefined) throw new TypeError("a step after a sidecar that did not start");
    await vi.waitFor(() => {
      if (step.hangup === true && leftMs > 0) {
        clock.advance(200);
        leftMs -= 200;
      }
      expect(names(now)).toEqual(step.expect);
      expect(now.refused.slice(refusedBefore)).toEqual(step.refused === undefined ? [] : [step.refused]);
      expect(now.set.states.find(({ problem }) => problem !== undefined)?.problem?.code).toBe(step.problem);
      if (step.version !== undefined) expect(now.set.states[0]?.version).toBe(step.version);
    }, soon);
  }
});

function codesIn({ refused }: PolicySet): string[] {
  return refused === undefined ? [] : [codeOf(refused)];
}

function codeOf(error: unknown): string {
  if (error instanceof CountersignErrors) return error.errors[0]?.code ?? "";
  return error instanceof CountersignError ? error.code : String(error);
}
