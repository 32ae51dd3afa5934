// `npm run bench:authz-e2e`: what the number of rules costs a real call, beside Envoy's RBAC filter with the same rules, and what calls
// notice of a reload. Load is wrk's over HTTP/1.1; the same Envoy stands in front of each inbound hop and makes the mTLS hop
// of it. Only the inbound hop's CPU counts.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { measureReloads, type ReloadReport } from "./authz-reload.ts";
import { envoyRbacRules, istioYaml, pathOf } from "./authz-rules.ts";
import { type BenchIdentities, createIdentities } from "./identities.ts";
import { runWrkScript } from "./load.ts";
import { startOrigin } from "./origins.ts";
import { countersign, countersignWith } from "./peers/countersign.ts";
import { envoy, envoyWithRules } from "./peers/envoy.ts";
import type { Hop, Mesh, Peer } from "./peers/peer.ts";
import { freePorts } from "./ports.ts";
import { type Children, createChildren } from "./processes.ts";
import { treeCpuSeconds } from "./procfs.ts";
import { median } from "./statistics.ts";
import { findTools } from "./tools.ts";
import { workloads } from "./workloads.ts";

const SIZES = [10, 1_000, 10_000];
const LARGEST = 10_000;
/** Which rules the calls match: the last alone, or each as often as any other. */
const TARGETS = ["last", "spread"] as const;
type Target = (typeof TARGETS)[number];
const CONNECTIONS = 16;
const RELOAD_RATE = 500;
/** CPU of a call at 10 000 rules ÷ Envoy's, all of it counted. */
const CPU_LIMIT = 0.02;
/** p99 during reloads ÷ p99 before. */
const RELOAD_LIMIT = 2;

const [workload] = workloads.filter(({ name }) => name === "http1-c32");

const usage = `npm run bench:authz-e2e -- [options]

  --seconds N   length of one round (default 3)
  --rounds N    rounds for each number of rules, taking turns (default 3); 0: none
  --reloads N   reloads of ${LARGEST} rules under load (default 16); 0: none
  --json FILE   writes every round
  --check       exit 1 when a bar is missed
`;

interface Round {
  readonly target: Target;
  readonly calls: number;
  readonly cpuSeconds: number;
  readonly p99Us: number;
}

interface Measured {
  readonly name: string;
  readonly rules: number;
  readonly mesh: Mesh;
  readonly inbound: Hop;
  readonly rounds: Round[];
}

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);
const print = (text: string): void => void process.stdout.write(`${text}\n`);

async function main(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seconds: { type: "string", default: "3" },
      rounds: { type: "string", default: "3" },
      reloads: { type: "string", default: "16" },
      json: { type: "string" },
      check: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const [seconds, rounds, reloads] = [Number(values.seconds), Number(values.rounds), Number(values.reloads)];
  if (!(seconds >= 1) || !(rounds >= 0) || !(reloads >= 0))
    throw new Error("--seconds, --rounds and --reloads are numbers");
  const dir = mkdtempSync(join(tmpdir(), "countersign-authz-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  await using children = createChildren(signal);
  if (workload === undefined) throw new TypeError("there is no workload http1-c32");
  const tools = await findTools(children, [workload], dir);
  if (!tools.wrk) throw new Error("the load generator is not installed: apt-get install wrk");
  for (const peer of [countersign, envoy]) {
    const found = await peer.find(children);
    if (found.kind === "missing") throw new Error(`${peer.name} is not installed: ${found.hint}`);
    say(`${peer.name} ${found.version}`);
  }
  const [app = 0] = await freePorts(1);
  await startOrigin(children, workload, tools, dir, app);
  const identities = createIdentities(join(dir, "identities"));
  const measured: Measured[] = [];
  for (const rules of rounds > 0 ? SIZES : [LARGEST]) {
    measured.push(await start(countersignWith([], istioYaml(rules)), rules, dir, app, identities, children));
    if (rounds === 0) break;
    measured.push(await start(envoyWithRules(envoyRbacRules(rules)), rules, dir, app, identities, children));
  }
  for (const one of measured) await runRound(one, "spread", 1, children); // warm up
  for (let round = 1; round <= rounds; round++)
    for (const one of measured)
      for (const target of TARGETS) {
        say(`round ${round} of ${rounds}: ${one.name}, ${one.rules} rules, ${target}`);
        one.rounds.push(await runRound(one, target, seconds, children));
      }
  const isMissed = rounds > 0 && reportCpu(measured);
  const own = measured.find(({ name, rules }) => name === countersign.name && rules === LARGEST);
  if (own === undefined) throw new TypeError("nothing to reload");
  for (const other of measured) if (other !== own) await other.inbound.child.stop();
  let reloaded: ReloadReport | undefined;
  if (reloads > 0) {
    say(`${reloads} reloads of ${LARGEST} rules at ${RELOAD_RATE} calls a second`);
    const options = { rules: LARGEST, rate: RELOAD_RATE, times: reloads };
    reloaded = await measureReloads(children, own.mesh, own.inbound.child, options);
  }
  const isReloadMissed = reloaded !== undefined && reportReloads(reloaded);
  if (values.json !== undefined) {
    const all = measured.map(({ name, rules, rounds: each }) => ({ name, rules, rounds: each }));
    writeFileSync(values.json, `${JSON.stringify({ measured: all, reloads: reloaded }, undefined, 2)}\n`);
  }
  return values.check && (isMissed || isReloadMissed) ? 1 : 0;
}

/** Starts an inbound hop behind an Envoy and shows that its rules decide. */
async function start(
  peer: Peer,
  rules: number,
  parent: string,
  app: number,
  identities: BenchIdentities,
  children: Children,
): Promise<Measured> {
  say(`starting ${peer.name} with ${rules} rules`);
  const dir = join(parent, `${peer.name}-${rules}`);
  mkdirSync(dir);
  const [outbound = 0, inbound = 0] = await freePorts(2);
  const mesh: Mesh = { dir, identities, ports: { app, outbound, inbound }, wire: "http1" };
  const hop = await peer.start("inbound", mesh, children);
  await envoy.start("outbound", mesh, children);
  for (const [method, path, wanted] of [
    ["GET", pathOf(0), 200],
    ["GET", pathOf(rules - 1), 200],
    ["GET", pathOf(rules), 403],
    ["GET", "/", 403],
    ["POST", pathOf(0), 403],
  ] as const) {
    const { status } = await fetch(`http://127.0.0.1:${outbound}${path}`, { method });
    if (status !== wanted) throw new Error(`${peer.name}, ${rules} rules: ${method} ${path} was answered ${status}`);
  }
  return { name: peer.name, rules, mesh, inbound: hop, rounds: [] };
}

async function runRound(
  { name, rules, mesh, inbound }: Measured,
  target: Target,
  seconds: number,
  children: Children,
): Promise<Round> {
  const args = [`-c${CONNECTIONS}`, `http://127.0.0.1:${mesh.ports.outbound}`];
  const before = treeCpuSeconds(inbound.child.pid);
  const report = await runWrkScript(children, "authz-calls.lua", [String(rules), target], seconds, args);
  const cpuSeconds = treeCpuSeconds(inbound.child.pid) - before;
  if (report.errors > 0) throw new Error(`${name}, ${rules} rules: ${report.errors} calls failed`);
  return { target, calls: report.calls, cpuSeconds, p99Us: report.p99Us };
}

/** Prints the table and the bar; whether the bar is missed. */
function reportCpu(measured: readonly Measured[]): boolean {
  const cpuUs = (name: string, rules: number, target: Target): number => {
    const one = measured.find((candidate) => candidate.name === name && candidate.rules === rules);
    const rounds = one?.rounds.filter((round) => round.target === target) ?? [];
    return median(rounds.map(({ cpuSeconds, calls }) => (cpuSeconds * 1e6) / calls));
  };
  print("CPU µs a call of the inbound hop, everything counted (medians)\n");
  print("| calls match | rules | countersign | envoy | countersign ÷ envoy |\n|---|---:|---:|---:|---:|");
  for (const target of TARGETS)
    for (const rules of SIZES) {
      const [own, other] = [cpuUs("countersign", rules, target), cpuUs("envoy", rules, target)];
      const name = target === "last" ? "the last rule" : "all rules alike";
      print(`| ${name} | ${rules} | ${own.toFixed(1)} | ${other.toFixed(1)} | ${(own / other).toFixed(4)} |`);
    }
  const added = (name: string, target: Target) => cpuUs(name, LARGEST, target) - cpuUs(name, SIZES[0] ?? 0, target);
  print("");
  for (const target of TARGETS) {
    const [own, other] = [added("countersign", target), added("envoy", target)];
    print(
      `${target}: ${LARGEST} rules instead of ${SIZES[0]} add ${own.toFixed(1)} µs, to Envoy ${other.toFixed(0)} µs`,
    );
  }
  const ratios = TARGETS.map((target) => cpuUs("countersign", LARGEST, target) / cpuUs("envoy", LARGEST, target));
  return printBar(`CPU of a call at ${LARGEST} rules ÷ Envoy's, the worse of both`, Math.max(...ratios), CPU_LIMIT, 4);
}

function reportReloads({ tookMs, quiet, during, errors }: ReloadReport): boolean {
  const ms = (us: number): string => (us / 1e3).toFixed(2);
  print("");
  print(`${tookMs.length} reloads of ${LARGEST} rules from YAML at ${RELOAD_RATE} calls a second`);
  print(`from the file's change to its being in force: ${median(tookMs).toFixed(0)} ms (median)`);
  print(`before:  ${quiet.calls} calls, p50 ${ms(quiet.p50Us)} ms, p99 ${ms(quiet.p99Us)} ms`);
  print(`during:  ${during.calls} calls, p50 ${ms(during.p50Us)} ms, p99 ${ms(during.p99Us)} ms; ${errors} failed`);
  return printBar("p99 during reloads ÷ before", during.p99Us / quiet.p99Us, RELOAD_LIMIT, 2) || errors > 0;
}

function printBar(text: string, measured: number, limit: number, digits: number): boolean {
  const isMissed = !(measured <= limit);
  print(`\n${text}: ${measured.toFixed(digits)} (≤ ${limit}, ${isMissed ? "MISSED" : "met"})`);
  return isMissed;
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
