// A body of gigabytes each way through both sidecars: memory stays bounded, and a reader that stops, stops the sender.
import { type IncomingMessage, request } from "node:http";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "../../bench/ports.ts";
import { resetPeakRss, treePeakRssBytes, treeRssBytes } from "../../bench/procfs.ts";
import { startApp } from "./app.ts";
import { isSame, receiveAll, sendBlocks, startTransfer, type Transfer } from "./byte-stream.ts";
import type { Checks } from "./checks.ts";
import { createFileIdentities } from "./file-identities.ts";
import { callOnce, createAgent, describeFailures } from "./http-call.ts";
import { type Role, type SoakMesh, sidecarConfig } from "./mesh-config.ts";
import { parseNumbers } from "./number-options.ts";
import { type Sidecar, startSidecar } from "./sidecar.ts";
import type { SoakProgram } from "./soak-program.ts";

const maxGrowthBytes = 40e6;
const pauseMs = 5_000;
/** Socket buffers of three connections fill up first; after this long the sender must stand still. */
const settleMs = 1_500;
const warmUpCalls = 300;

/** Both ends of one body. */
interface Passage {
  readonly sent: Transfer;
  readonly received: Transfer;
  /** The reader's stream, once it is there. */
  source?: Readable;
}

export const largeBody: SoakProgram = async ({ dir, children, checks }, argv) => {
  const { mib } = parseNumbers(argv, { mib: 2_048 });
  const bytes = mib * 1024 * 1024;
  const upload: Passage = { sent: startTransfer(), received: startTransfer() };
  const download: Passage = { sent: startTransfer(), received: startTransfer() };
  await using app = await startApp({
    "/upload": async (incoming, response) => {
      upload.source = incoming;
      await receiveAll(incoming, upload.received);
      response.end("received\n");
    },
    "/download": async (_incoming, response) => {
      response.setHeader("content-length", bytes);
      await sendBlocks(response, download.sent, () => download.sent.bytes >= bytes);
      response.end();
    },
  });
  const [outboundPort = 0, inboundPort = 0] = await freePorts(2);
  const mesh: SoakMesh = { dir, trustDomain: "soak.test", outboundPort, inboundPort, appPort: app.port };
  const identities = createFileIdentities(mesh);
  const start = (role: Role) =>
    startSidecar(children, { name: role, dir, config: sidecarConfig(mesh, role, identities[role]) });
  const sidecars = { orders: await start("orders"), web: await start("web") };
  await warmUp(outboundPort);

  await measure("upload", upload, bytes, sidecars, checks, () => sendUpload(outboundPort, bytes, upload));
  await measure("download", download, bytes, sidecars, checks, () => readDownload(outboundPort, download));
};

async function warmUp(port: number): Promise<void> {
  const agent = createAgent(4);
  for (let call = 0; call < warmUpCalls; call++) {
    const result = await callOnce(agent, port, `/call/${call}`);
    if (!result.ok) throw new Error(`a small call failed: ${describeFailures([result])}`);
  }
  agent.destroy();
}

async function measure(
  name: string,
  passage: Passage,
  bytes: number,
  sidecars: Readonly<Record<Role, Sidecar>>,
  checks: Checks,
  transfer: () => Promise<void>,
): Promise<void> {
  const before = { web: treeRssBytes(sidecars.web.child.pid), orders: treeRssBytes(sidecars.orders.child.pid) };
  for (const { child } of Object.values(sidecars)) resetPeakRss(child.pid);
  const startedMs = performance.now();
  const done = transfer();
  // A transfer that breaks off must end the wait for a quarter that never comes.
  const over = new AbortController();
  const [moved] = await Promise.all([moveWhilePaused(passage, bytes, over.signal), done]).finally(() => over.abort());
  const seconds = (performance.now() - startedMs) / 1e3;
  checks.check(
    `${name} of ${bytes / 2 ** 20} MiB arrives whole`,
    passage.received.bytes === bytes && isSame(passage.sent, passage.received),
    `${passage.received.bytes} bytes in ${seconds.toFixed(1)} s`,
  );
  checks.check(
    `${name}: a reader that stops for ${pauseMs / 1e3} s stops the sender`,
    moved.whileStopped === 0,
    `${moved.whileStopped} bytes sent after the first ${settleMs / 1e3} s, ${(moved.inFlight / 1e6).toFixed(1)} MB on the way`,
  );
  for (const role of ["web", "orders"] as const) {
    const growth = treePeakRssBytes(sidecars[role].child.pid) - before[role];
    checks.check(
      `${name}: ${role}'s RSS grows by less than ${maxGrowthBytes / 1e6} MB`,
      growth < maxGrowthBytes,
      `${(growth / 1e6).toFixed(1)} MB over ${(before[role] / 1e6).toFixed(1)} MB`,
    );
  }
}

/** Stops the reader once a quarter has arrived, and tells what the sender still got rid of. */
async function moveWhilePaused(
  passage: Passage,
  bytes: number,
  signal: AbortSignal,
): Promise<{ readonly whileStopped: number; readonly inFlight: number }> {
  const { sent, received } = passage;
  while (received.bytes < bytes / 4) await delay(5, undefined, { signal });
  passage.source?.pause();
  await delay(settleMs, undefined, { signal });
  const settled = sent.bytes;
  await delay(pauseMs - settleMs, undefined, { signal });
  const moved = { whileStopped: sent.bytes - settled, inFlight: sent.bytes - received.bytes };
  passage.source?.resume();
  return moved;
}

async function sendUpload(port: number, bytes: number, { sent }: Passage): Promise<void> {
  const call = request({
    host: "127.0.0.1",
    port,
    path: "/upload",
    method: "POST",
    headers: { "content-length": bytes },
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    call.once("response", resolve).once("error", reject);
  });
  await Promise.race([sendBlocks(call, sent, () => sent.bytes >= bytes), response]);
  call.end();
  const { statusCode } = (await response).resume();
  if (statusCode !== 200) throw new Error(`the upload was answered ${statusCode ?? 0}`);
}

async function readDownload(port: number, passage: Passage): Promise<void> {
  const call = request({ host: "127.0.0.1", port, path: "/download" });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    call.once("response", resolve).once("error", reject);
  });
  call.end();
  passage.source = await response;
  await receiveAll(passage.source, passage.received);
}
