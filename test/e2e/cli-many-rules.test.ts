import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import {
  type CountersignProcesses,
  countersignProcesses,
  type SidecarProcess,
} from "../support/countersign-process.ts";
import { TRUST_DOMAIN } from "../support/mesh.ts";
import { startPair } from "../support/sidecar-pair.ts";

let dir: string;
let processes: CountersignProcesses;
let closeApp: () => Promise<void>;
let appPort: number;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "countersign-many-rules-"));
  processes = countersignProcesses();
  const app = await startApp((_, response) => response.end("hello"));
  closeApp = () => app.close();
  appPort = app.port;
});
afterEach(async () => {
  await processes.close();
  await closeApp();
  rmSync(dir, { recursive: true });
});

/** As many rules as are compiled in a process of their own. */
const RULES = 1_000;

function policies(prefix: string): string {
  const documents = Array.from({ length: RULES / 250 }, (_, p) => {
    const rules = Array.from(
      { length: 250 },
      (_rule, i) => `  - from: [{ source: { principals: [cluster.local/ns/shop/sa/web] } }]
    to: [{ operation: { methods: [GET], paths: [/${prefix}/things/${250 * p + i}] } }]
`,
    );
    return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${prefix}-${p}, namespace: shop }
spec:
  rules:
${rules.join("")}`;
  });
  return documents.join("---\n");
}

it.each([1, 2])(
  "many rules are compiled apart, for %i worker(s), at the start and anew, and leave no process",
  async (workers) => {
    const pair = await startPair({ dir, processes, appPort, policies: policies("old"), more: `workers: ${workers}` });
    const statusOf = async (path: string): Promise<number> => (await ask(pair.port, path)).status;
    expect(await pair.orders.next("policy.loaded")).toMatchObject({ policies: 4, rules: RULES });
    expect([await statusOf("/old/things/999"), await statusOf("/new/things/0")]).toEqual([200, 403]);
    const children = (): string => childrenOf(pair.orders.pid);
    const areGone = (): Promise<void> => vi.waitFor(() => expect(children()).toBe(""));
    await areGone();

    writeFileSync(join(dir, "policies.yaml"), policies("new"));
    expect(await pair.orders.next("policy.loaded")).toMatchObject({ policies: 4, rules: RULES });
    expect([await statusOf("/old/things/999"), await statusOf("/new/things/0")]).toEqual([403, 200]);
    await areGone();

    writeFileSync(join(dir, "policies.yaml"), `${policies("bad")}nothing: here\n`);
    const { errors } = await pair.orders.next("policy.rejected");
    expect(errors).toEqual([expect.stringMatching(/policies\.yaml:\d+:1: E_POLICY_UNKNOWN_KEY .*"nothing"/)]);
    expect([await statusOf("/new/things/999"), await statusOf("/bad/things/0")]).toEqual([200, 403]);
    await areGone();

    // what ends the process that compiles, such as want of memory, ends nothing else, and another takes its place
    const compiler = (): number => Number(/\d+/.exec(children())?.[0] ?? expect.unreachable());
    const nextCompiler = (known?: number): Promise<number> =>
      vi.waitFor(() => (compiler() === known ? expect.unreachable() : compiler()), { interval: 2, timeout: 5_000 });
    writeFileSync(join(dir, "policies.yaml"), policies("new2"));
    process.kill(await nextCompiler(), "SIGKILL");
    expect(await pair.orders.next("policy.loaded")).toMatchObject({ policies: 4, rules: RULES });
    expect([await statusOf("/new2/things/999"), await statusOf("/new/things/0")]).toEqual([200, 403]);
    await areGone();
    writeFileSync(join(dir, "policies.yaml"), policies("lost"));
    const first = await nextCompiler();
    process.kill(first, "SIGKILL");
    process.kill(await nextCompiler(first), "SIGKILL");
    expect((await pair.orders.next("policy.rejected"))["errors"]).toEqual([
      expect.stringMatching(/E_POLICY_PROCESS .*SIGKILL/),
    ]);
    expect([await statusOf("/new2/things/999"), await statusOf("/lost/things/0")]).toEqual([200, 403]);
    pair.orders.signal("SIGHUP");
    expect(await pair.orders.next("policy.loaded")).toMatchObject({ policies: 4, rules: RULES });
    expect([await statusOf("/new2/things/999"), await statusOf("/lost/things/0")]).toEqual([403, 200]);
    await areGone();
  },
);

it("serves nobody by policies that are not made for its trust domain, whatever ends the processes that make them", async () => {
  const deny = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: refuse, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/web] } }] }] }
`;
  // of a start, the first compiles without a trust domain; the next two, for that of the SVID, are lost
  const seen: number[] = [];
  const run = (file: string): SidecarProcess => {
    const child = processes.run(file);
    if (file.endsWith("orders.yaml")) void loseSecondAndThird(child, seen);
    return child;
  };
  const allowed = policies("old").replaceAll("cluster.local", TRUST_DOMAIN);
  const pair = await startPair({ dir, processes: { ...processes, run }, appPort, policies: allowed + deny });
  expect((await pair.orders.next("policy.rejected"))["errors"]).toEqual([expect.stringContaining("E_POLICY_PROCESS")]);
  expect(seen).toHaveLength(4);
  expect((await ask(pair.port, "/old/things/999")).status).toBe(403);
});

async function loseSecondAndThird({ pid }: SidecarProcess, seen: number[]): Promise<void> {
  while (seen.length < 4) {
    for (const child of childrenOf(pid).split(" ").filter(Boolean).map(Number)) {
      if (seen.includes(child)) continue;
      seen.push(child);
      if (seen.length === 2 || seen.length === 3) process.kill(child, "SIGKILL");
    }
    // oxlint-disable-next-line no-await-in-loop -- looks until it has seen them
    await new Promise((resolve) => void setImmediate(resolve));
  }
}

/** Zombies too. */
function childrenOf(pid: number): string {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .map((task) => readFileSync(`/proc/${pid}/task/${task}/children`, "latin1"))
      .join("");
  } catch {
    return ""; // it has ended, or its thread has
  }
}
