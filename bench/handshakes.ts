// `npm run bench:handshakes`: full mTLS handshakes a second and CPU per handshake of each peer's inbound hop, all in one run. A
// handshake is a new TCP connection, TLS 1.3 with certificates of both sides and no resumption, and its end; no call is made.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type BenchIdentities, createIdentities } from "./identities.ts";
import { startPeer } from "./measure.ts";
import { startOrigin } from "./origins.ts";
import { countersign } from "./peers/countersign.ts";
import { envoy } from "./peers/envoy.ts";
import { haproxy } from "./peers/haproxy.ts";
import { nginx } from "./peers/nginx.ts";
import type { Mesh, Peer } from "./peers/peer.ts";
import { versionOf } from "./peers/peer.ts";
import { freePorts } from "./ports.ts";
import { type Children, createChildren } from "./processes.ts";
import { treeCpuSeconds } from "./procfs.ts";
import { median } from "./statistics.ts";
import { findTools } from "./tools.ts";
import { workloads } from "./workloads.ts";

const peers: readonly Peer[] = [countersign, haproxy, nginx, envoy];
/** At once: enough to keep one server thread busy. */
const CLIENTS = 2;
/** CPU per handshake ÷ HAProxy's. */
const LIMIT = 1.5;

/** What the app behind does while the set-ups are checked. */
const [smallAnswers] = workloads.filter(({ name }) => name === "http1-c1");

const usage = `npm run bench:handshakes -- [options]

  --seconds N   length of one round (default 3)
  --rounds N    rounds for each peer, taking turns (default 5)
  --json FILE   writes every round
  --check       exit 1 when CPU per handshake is above ${LIMIT} × HAProxy's
`;

interface Round {
  readonly handshakes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

interface Measured {
  readonly peer: Peer;
  readonly version: string;
  readonly mesh: Mesh;
  readonly pid: number;
  readonly rounds: Round[];
}

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

async function main(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seconds: { type: "string", default: "3" },
      rounds: { type: "string", default: "5" },
      json: { type: "string" },
      check: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)];
  if (!(seconds >= 1) || !(rounds >= 1)) throw new Error("--seconds and --rounds are numbers from 1");
  const dir = mkdtempSync(join(tmpdir(), "countersign-handshakes-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  await using children = createChildren(signal);
  if ((await versionOf(children, "openssl", ["version"])) === undefined)
    throw new Error("the load generator is not installed: apt-get install openssl");
  const identities = createIdentities(join(dir, "identities"));
  const measured = await startAll(dir, identities, children);
  for (const one of measured) await handshakes(one, identities, 1, children); // warm up
  for (let round = 1; round <= rounds; round++)
    for (const one of measured) {
      say(`round ${round} of ${rounds}, ${one.peer.name}`);
      one.rounds.push(await handshakes(one, identities, seconds, children));
    }
  if (values.json !== undefined) {
    const report = measured.map(({ peer, version, rounds: all }) => ({ peer: peer.name, version, rounds: all }));
    writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  return report(measured) > LIMIT && values.check ? 1 : 0;
}

/** Each with both hops, which were shown to check identities. */
async function startAll(dir: string, identities: BenchIdentities, children: Children): Promise<Measured[]> {
  const found: Measured[] = [];
  const [app = 0] = await freePorts(1);
  if (smallAnswers === undefined) throw new TypeError("there is no workload http1-c1");
  await startOrigin(children, smallAnswers, await findTools(children, [smallAnswers], dir), dir, app);
  for (const peer of peers) {
    const present = await peer.find(children);
    if (present.kind === "missing") {
      say(`skipping ${peer.name}, which is not installed: ${present.hint}`);
      continue;
    }
    say(`starting and checking ${peer.name}`);
    const { mesh, inbound } = await startPeer(peer, dir, app, smallAnswers, identities, children);
    found.push({ peer, version: present.version, mesh, pid: inbound.child.pid, rounds: [] });
  }
  return found;
}

async function handshakes(
  { mesh, pid }: Measured,
  { web }: BenchIdentities,
  seconds: number,
  children: Children,
): Promise<Round> {
  const { svid, key, bundle } = web.files;
  const args = ["s_time", "-connect", `127.0.0.1:${mesh.ports.inbound}`, "-new", "-time", String(seconds)];
  args.push("-cert", svid, "-key", key, "-CAfile", bundle);
  const before = treeCpuSeconds(pid);
  const startedAt = performance.now();
  const outputs = await Promise.all(
    Array.from({ length: CLIENTS }, () => children.run("openssl s_time", "openssl", args, (seconds + 20) * 1000)),
  );
  const elapsed = (performance.now() - startedAt) / 1000;
  const counts = outputs.map((text) => Number(/(\d+) connections in \d+ real seconds/.exec(text)?.[1]));
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (!(total > 0)) throw new Error(`openssl s_time counted no connection:\n${outputs[0]?.slice(-500)}`);
  return { handshakes: total, seconds: elapsed, cpuSeconds: treeCpuSeconds(pid) - before };
}

/** Prints the table; returns Countersign's CPU per handshake ÷ HAProxy's, 0 when one of them was not measured. */
function report(measured: readonly Measured[]): number {
  const cpuMs = ({ rounds }: Measured): number =>
    median(rounds.map(({ cpuSeconds, handshakes: count }) => (cpuSeconds * 1000) / count));
  const rate = ({ rounds }: Measured): number =>
    median(rounds.map(({ handshakes: count, seconds }) => count / seconds));
  const named = (name: string): Measured | undefined => measured.find(({ peer }) => peer.name === name);
  const base = named("haproxy");
  const lines = measured.map((one) => {
    const ratio = base === undefined ? "" : (cpuMs(one) / cpuMs(base)).toFixed(2);
    return `| ${one.peer.name} ${one.version} | ${rate(one).toFixed(0)} | ${cpuMs(one).toFixed(3)} | ${ratio} |`;
  });
  process.stdout.write(
    `| inbound hop | handshakes/s | CPU ms a handshake | ÷ HAProxy |\n|---|---|---|---|\n${lines.join("\n")}\n`,
  );
  const own = named("countersign");
  return own === undefined || base === undefined ? 0 : cpuMs(own) / cpuMs(base);
}

const stop = new AbortController();
for (const kind of ["SIGINT", "SIGTERM"] as const)
  process.once(kind, () => stop.abort(new Error(`stopped by ${kind}; nothing is left running`)));
try {
  process.exitCode = await main(process.argv.slice(2), stop.signal);
} catch (error) {
  const first: unknown = stop.signal.aborted ? stop.signal.reason : error;
  for (let current = first; current instanceof Error; current = current.cause) say(current.message);
  process.exitCode = 2;
}
