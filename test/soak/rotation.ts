// Calls at a steady rate and one long download, while the issuer rotates every SVID every two seconds.
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "../../bench/ports.ts";
import { waitUntilReady } from "../../bench/processes.ts";
import { startApp } from "./app.ts";
import { type AuditRecord, countByPath, readAuditFile } from "./audit-file.ts";
import { isSame, receiveAll, sendBlocks, startTransfer, type Transfer } from "./byte-stream.ts";
import { type CallResult, callOnce, createAgent, describeFailures } from "./http-call.ts";
import { type Role, type SoakMesh, sidecarConfig } from "./mesh-config.ts";
import { parseNumbers } from "./number-options.ts";
import { issuerConfig, nodeFor } from "./rotating-issuer.ts";
import { startIssuer, startSidecar } from "./sidecar.ts";
import type { SoakProgram } from "./soak-program.ts";
import { isUnixSocketListening } from "./unix-socket.ts";

const rotationSeconds = 2;

export const rotation: SoakProgram = async ({ dir, children, checks, signal }, argv) => {
  const { seconds, rate } = parseNumbers(argv, { seconds: 60, rate: 500 });
  let downloadEnds = false;
  const sent = startTransfer();
  await using app = await startApp({
    "/download": async (_request, response) => {
      await sendBlocks(response, sent, () => downloadEnds, 25);
      response.end();
    },
  });
  const [outboundPort = 0, inboundPort = 0] = await freePorts(2);
  const mesh: SoakMesh = { dir, trustDomain: "soak.test", outboundPort, inboundPort, appPort: app.port };
  const socket = join(dir, "issuer.sock");
  const nodes = { web: nodeFor("web", dir), orders: nodeFor("orders", dir) };
  const issuer = await startIssuer(children, dir, issuerConfig(mesh, nodes, socket, rotationSeconds * 1000));
  await waitUntilReady(issuer, () => isUnixSocketListening(socket), 20_000);
  const identity = { workloadApi: { address: `unix://${socket}` } };
  const start = (role: Role) =>
    startSidecar(children, { name: role, dir, node: nodes[role], config: sidecarConfig(mesh, role, identity) });
  const orders = await start("orders");
  const web = await start("web");

  const received = startTransfer();
  const download = startDownload(outboundPort, received);
  const startedMs = performance.now();
  const results = await callAtRate(outboundPort, rate, seconds, signal);
  const endedMs = performance.now();
  downloadEnds = true;
  const downloadFailure = await download;
  await Promise.all([web.child.stop(10_000), orders.child.stop(10_000)]);
  await issuer.stop();

  const failed = results.filter(({ ok }) => !ok);
  checks.check(
    "no call fails",
    failed.length === 0,
    `${results.length} calls, ${failed.length} failed ${describeFailures(failed)}`,
  );
  const perSecond = results.length / seconds;
  checks.check(`${rate} calls are made a second`, perSecond >= rate * 0.98, `${perSecond.toFixed(0)}/s`);
  checks.check(
    "one download is unbroken from start to end",
    downloadFailure === undefined && isSame(sent, received),
    `${(received.bytes / 1e6).toFixed(0)} MB in ${((endedMs - startedMs) / 1e3).toFixed(0)} s ${downloadFailure ?? ""}`,
  );
  for (const [role, sidecar] of [
    ["web", web],
    ["orders", orders],
  ] as const) {
    const { calls, tornLines } = await readAuditFile(sidecar.auditFile);
    const own = calls.filter(({ path }) => path?.startsWith("/call/") === true);
    const rotations = sidecar.events.filter(
      ({ event, atMs }) => event === "identity.rotated" && atMs > startedMs && atMs < endedMs,
    ).length;
    const wanted = Math.floor((seconds / rotationSeconds) * 0.8);
    checks.check(
      `${role} rotates every ${rotationSeconds} s`,
      rotations >= wanted,
      `${rotations} rotations in ${seconds} s`,
    );
    checks.check(`${role} has exactly one record a call`, hasOneRecordEach(own, results), `${own.length} records`);
    checks.check(`${role}'s records are whole`, tornLines === 0, `${tornLines} torn lines`);
    const retried = calls.filter(({ retries = 0 }) => retries > 0).length;
    checks.check(`${role} retried nothing`, retried === 0, `${retried} calls with retries`);
    checkSerials(role, own);
  }

  function checkSerials(role: Role, own: readonly AuditRecord[]): void {
    // Every rotation of the caller falls into the running load, so each new serial must show in both logs.
    const rotations = web.events.filter(
      ({ event, atMs }) => event === "identity.rotated" && atMs > startedMs && atMs < endedMs - 500,
    ).length;
    const serials = new Set(own.map(({ source }) => source?.svid?.serial));
    checks.check(
      `the caller's serial in ${role}'s records changes with each rotation`,
      !serials.has(undefined) && serials.size > rotations,
      `${serials.size} serials, ${rotations} rotations`,
    );
  }
};

/** Open loop: calls start when they are due, however long others take. */
async function callAtRate(port: number, rate: number, seconds: number, signal: AbortSignal): Promise<CallResult[]> {
  const agent = createAgent(128);
  const calls: Promise<CallResult>[] = [];
  const startedMs = performance.now();
  while (calls.length < rate * seconds) {
    const due = Math.min(rate * seconds, ((performance.now() - startedMs) / 1e3) * rate);
    while (calls.length < due) calls.push(callOnce(agent, port, `/call/${calls.length}`));
    await delay(5, undefined, { signal });
  }
  const results = await Promise.all(calls);
  agent.destroy();
  return results;
}

/** Resolves with why it broke off, or undefined. */
function startDownload(port: number, received: Transfer): Promise<string | undefined> {
  return new Promise((resolve) => {
    const call = request({ host: "127.0.0.1", port, path: "/download" }, (response) => {
      if (response.statusCode !== 200) resolve(`status ${response.statusCode ?? 0}`);
      receiveAll(response, received).then(
        () => resolve(undefined),
        (error: unknown) => resolve(String(error)),
      );
    });
    call.on("error", (error) => resolve(error.message));
    call.end();
  });
}

function hasOneRecordEach(records: readonly AuditRecord[], results: readonly CallResult[]): boolean {
  const counts = countByPath(records);
  return records.length === results.length && results.every(({ path }) => counts.get(path) === 1);
}
