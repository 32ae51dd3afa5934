// Every attack of HTTP/2 on orders' sidecar, by a caller with a right SVID: memory stays bounded, and other callers hardly notice.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts, isListening } from "../../bench/ports.ts";
import { waitUntilReady } from "../../bench/processes.ts";
import { resetPeakRss, treePeakRssBytes, treeRssBytes } from "../../bench/procfs.ts";
import { ATTACKS, CONNECTIONS_ALONE } from "../support/http2-attacks.ts";
import { createFileIdentities } from "./file-identities.ts";
import { callOnce, createAgent } from "./http-call.ts";
import { type Role, type SoakMesh, sidecarConfig } from "./mesh-config.ts";
import { parseNumbers } from "./number-options.ts";
import { startSidecar } from "./sidecar.ts";
import type { SoakProgram } from "./soak-program.ts";

const maxGrowthBytes = 32e6;
const maxGrowthPerByteSent = 10;
/** Until an attacker's process runs at its full speed: its start costs a core for most of a second. */
const settleMs = 2_000;
/** What a heap varies by without any attack. */
const noiseBytes = 4e6;
/** p99 of other callers may double, and on a machine that is busy otherwise varies by this much. */
const noiseMs = 5;

export const abuse: SoakProgram = async ({ dir, children, checks }, argv) => {
  // on a machine that does other work too, other callers wait for that: a larger factor leaves memory to be judged
  const { seconds, factor, first, last } = parseNumbers(argv, {
    seconds: 5,
    factor: 2,
    first: 1,
    last: ATTACKS.length,
  });
  const [outboundPort = 0, inboundPort = 0, appPort = 0, attackedPort = 0, attackedApp = 0] = await freePorts(5);
  const startApp = async (port: number, niceness: number): Promise<void> => {
    const file = join(import.meta.dirname, "app-process.ts");
    const app = await children.start("app", process.execPath, [file, `${port}`, `${niceness}`]);
    await waitUntilReady(app, () => isListening(port), 10_000);
  };
  await startApp(appPort, 0);
  // the time that an app spends on what it is asked by the attacker is not the sidecar's
  await startApp(attackedApp, 19);
  const mesh: SoakMesh = { dir, trustDomain: "soak.test", outboundPort, inboundPort, appPort };
  const identities = createFileIdentities(mesh);
  const start = (role: Role) => {
    const config = sidecarConfig(mesh, role, identities[role], "http");
    const other = { name: "attacked", listen: `127.0.0.1:${attackedPort}`, app: `127.0.0.1:${attackedApp}` };
    const more = role === "web" ? [] : [{ ...other, protocol: "http", mtls: "strict" }];
    const { inbound = [] } = config as { readonly inbound?: readonly object[] };
    return startSidecar(children, { name: role, dir, config: { ...config, inbound: [...inbound, ...more] } });
  };
  const { pid } = (await start("orders")).child;
  await start("web");
  await callFor(outboundPort, 3_000); // until code and heap have their size
  for (const attack of [CONNECTIONS_ALONE, ...ATTACKS.slice(first - 1, last)]) {
    const quiet = await callFor(outboundPort, seconds * 1e3);
    resetPeakRss(pid);
    const before = treeRssBytes(pid);
    const attacker = children.run(
      "attacker",
      process.execPath,
      [
        join(import.meta.dirname, "attacker.ts"),
        `${attackedPort}`,
        join(dir, "web"),
        `${seconds + settleMs / 1e3}`,
        attack.name,
      ],
      seconds * 1e3 + 30_000,
    );
    await delay(settleMs);
    const [attacked, report] = await Promise.all([callFor(outboundPort, seconds * 1e3), attacker]);
    const { bytesSent, connections } = JSON.parse(report) as { bytesSent: number; connections: number };
    const growth = treePeakRssBytes(pid) - before;
    const bySent = attack.holdsAnswers ? maxGrowthBytes : Math.max(noiseBytes, maxGrowthPerByteSent * bytesSent);
    const limit = Math.min(maxGrowthBytes, bySent);
    const sent = `${(bytesSent / 1e6).toFixed(1)} MB sent on ${connections} connections`;
    checks.check(
      `${attack.name}: memory is bounded`,
      growth <= limit,
      `grew by ${(growth / 1e6).toFixed(1)} MB, limit ${(limit / 1e6).toFixed(1)} MB, ${sent}`,
    );
    checks.check(
      `${attack.name}: others are served, p99 at most ${factor} times as long`,
      attacked.failures === 0 && attacked.p99Ms <= factor * quiet.p99Ms + noiseMs,
      `p99 ${quiet.p99Ms.toFixed(1)} ms before, ${attacked.p99Ms.toFixed(1)} ms meanwhile, ${attacked.failures} of ${attacked.calls} failed`,
    );
  }
};

interface Served {
  readonly calls: number;
  readonly failures: number;
  readonly p99Ms: number;
}

/** Four callers, each with a pause of 5 ms between its calls. */
async function callFor(port: number, lengthMs: number): Promise<Served> {
  const agent = createAgent(4);
  const untilMs = performance.now() + lengthMs;
  const times: number[] = [];
  let failures = 0;
  const caller = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      const { ok, sentMs, answeredMs } = await callOnce(agent, port, "/other");
      times.push(answeredMs - sentMs);
      if (!ok) failures++;
      await delay(5);
    }
  };
  await Promise.all([caller(), caller(), caller(), caller()]);
  agent.destroy();
  const sorted = times.toSorted((a, b) => a - b);
  return { calls: times.length, failures, p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0 };
}
