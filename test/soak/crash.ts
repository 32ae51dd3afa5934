// kill -9 of a sidecar under load: how soon its restart serves, and whether its audit log knows every call that was
// answered before.
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "../../bench/ports.ts";
import { startApp } from "./app.ts";
import { countByPath, readAuditFile } from "./audit-file.ts";
import { createFileIdentities } from "./file-identities.ts";
import { type CallResult, callOnce, createAgent } from "./http-call.ts";
import { type Role, type SoakMesh, sidecarConfig } from "./mesh-config.ts";
import { parseNumbers } from "./number-options.ts";
import { type Sidecar, startSidecar } from "./sidecar.ts";
import type { SoakContext, SoakProgram } from "./soak-program.ts";

const concurrency = 16;
/** What is answered less than this before the kill may lack its record. */
const lossWindowMs = 200;
const maxRestartMs = 1_000;

export const crash: SoakProgram = async (context, argv) => {
  const { rounds, seconds } = parseNumbers(argv, { rounds: 2, seconds: 3 });
  await using app = await startApp();
  const [outboundPort = 0, inboundPort = 0] = await freePorts(2);
  const mesh: SoakMesh = { dir: context.dir, trustDomain: "soak.test", outboundPort, inboundPort, appPort: app.port };
  const identities = createFileIdentities(mesh);
  const start = (role: Role): Promise<Sidecar> =>
    startSidecar(context.children, {
      name: role,
      dir: context.dir,
      config: sidecarConfig(mesh, role, identities[role]),
    });
  for (let round = 1; round <= rounds; round++)
    for (const victim of ["orders", "web"] as const)
      await crashOne(context, `round ${round}, ${victim}`, victim, start, outboundPort, seconds);
};

async function crashOne(
  { checks, signal }: SoakContext,
  name: string,
  victim: Role,
  start: (role: Role) => Promise<Sidecar>,
  port: number,
  seconds: number,
): Promise<void> {
  const other = victim === "web" ? "orders" : "web";
  const survivor = await start(other);
  const killed = await start(victim);
  const load = startLoad(port, name.replace(/\W+/g, "-"), signal);
  await delay(seconds * 1e3, undefined, { signal });
  const killedMs = performance.now();
  killed.child.kill();
  await killed.child.ended;
  const restartMs = performance.now();
  const restarted = await start(victim);
  await delay(1_000, undefined, { signal });
  const results = await load.stop();
  await Promise.all([restarted.child.stop(10_000), survivor.child.stop(10_000)]); // writes out their records

  const before = results.filter(({ ok, answeredMs }) => ok && answeredMs < killedMs - lossWindowMs);
  const after = results.filter(({ ok, sentMs }) => ok && sentMs > killedMs);
  const firstMs = Math.min(...after.map(({ answeredMs }) => answeredMs)) - restartMs;
  checks.check(
    `${name}: its restart serves in under ${maxRestartMs} ms`,
    firstMs < maxRestartMs,
    `${firstMs.toFixed(0)} ms`,
  );
  const { calls, tornLines } = await readAuditFile(restarted.auditFile);
  const counts = countByPath(calls);
  const missing = (wanted: readonly CallResult[]): number => wanted.filter(({ path }) => !counts.has(path)).length;
  const justBefore = results.filter(
    ({ ok, answeredMs }) => ok && answeredMs >= killedMs - lossWindowMs && answeredMs <= killedMs,
  );
  checks.check(
    `${name}: every call answered more than ${lossWindowMs} ms before the kill has its record`,
    before.length > 0 && missing(before) === 0,
    `${before.length} calls, ${missing(before)} without record (in the last ${lossWindowMs} ms: ${missing(justBefore)} of ${justBefore.length})`,
  );
  checks.check(
    `${name}: every call answered after the restart has its record`,
    after.length > 0 && missing(after) === 0,
    `${after.length} calls, ${missing(after)} without record`,
  );
  const twice = results.filter(({ path }) => (counts.get(path) ?? 0) > 1).length;
  checks.check(`${name}: no call has two records`, twice === 0, `${twice} calls with several`);
  checks.check(`${name}: the kill tore at most one line`, tornLines <= 1, `${tornLines} torn lines`);
}

/** A closed loop of `concurrency` callers; every call has a path of its own. */
function startLoad(port: number, prefix: string, signal: AbortSignal): { stop: () => Promise<CallResult[]> } {
  const agent = createAgent(concurrency);
  const results: CallResult[] = [];
  let isRunning = true;
  let calls = 0;
  const caller = async (): Promise<void> => {
    while (isRunning && !signal.aborted) {
      const result = await callOnce(agent, port, `/call/${prefix}/${calls++}`);
      results.push(result);
      if (!result.ok) await delay(5); // nobody listens during the restart: no busy loop
    }
  };
  const callers = Array.from({ length: concurrency }, caller);
  return {
    async stop() {
      isRunning = false;
      await Promise.all(callers);
      agent.destroy();
      return results;
    },
  };
}
