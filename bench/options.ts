import { parseArgs } from "node:util";
import type { Plan } from "./measure.ts";
import { countersign } from "./peers/countersign.ts";
import { envoy, envoyMux } from "./peers/envoy.ts";
import { ghostunnel } from "./peers/ghostunnel.ts";
import { haproxy, haproxyMux } from "./peers/haproxy.ts";
import { nginx } from "./peers/nginx.ts";
import type { Peer } from "./peers/peer.ts";
import { type Workload, workloads } from "./workloads.ts";

const allPeers: readonly Peer[] = [countersign, haproxy, haproxyMux, nginx, envoy, envoyMux, ghostunnel];
/** Stands among the workloads in --workloads. */
const footprintName = "footprint";

export interface BenchOptions extends Plan {
  readonly peers: readonly Peer[];
  readonly workloads: readonly Workload[];
  /** Whether start-up and idle memory are measured. */
  readonly footprint: boolean;
  readonly json: string | undefined;
  readonly markdown: boolean;
  /** Exit 1 when a bar is missed. */
  readonly check: boolean;
}

export const usage = `npm run bench -- [options]

  --peers a,b       of ${allPeers.map(({ name }) => name).join(", ")} (default: all that are installed)
  --workloads a,b   of ${[...workloads.map(({ name }) => name), footprintName].join(", ")}
                    (default: all)
  --seconds N       length of one measured round (default 3); TCP rounds end with their bytes
  --rounds N        rounds for each peer and workload, taking turns (default 3)
  --warm-up N       seconds of load before the first round (default 2)
  --json FILE       writes every round, the medians and the machine
  --markdown        tables for docs/performance.md instead of the terminal's
  --check           exit 1 when a bar is missed
`;

/** Throws an Error whose message is for the user. undefined: help was asked for. */
export function parseOptions(argv: readonly string[]): BenchOptions | undefined {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      peers: { type: "string" },
      workloads: { type: "string" },
      seconds: { type: "string", default: "3" },
      rounds: { type: "string", default: "3" },
      "warm-up": { type: "string", default: "2" },
      json: { type: "string" },
      markdown: { type: "boolean", default: false },
      check: { type: "boolean", default: false },
      help: { type: "boolean", default: false, short: "h" },
    },
  });
  if (values.help) return undefined;
  const chosen = choose("--workloads", values.workloads, [...workloads, { name: footprintName }]);
  return {
    peers: choose("--peers", values.peers, allPeers),
    workloads: chosen.filter((entry) => "load" in entry),
    footprint: chosen.some(({ name }) => name === footprintName),
    seconds: wholeNumber("--seconds", values.seconds, 60),
    rounds: wholeNumber("--rounds", values.rounds, 100),
    warmUpSeconds: wholeNumber("--warm-up", values["warm-up"], 60),
    json: values.json,
    markdown: values.markdown,
    check: values.check,
  };
}

function choose<T extends { readonly name: string }>(
  flag: string,
  text: string | undefined,
  all: readonly T[],
): readonly T[] {
  if (text === undefined) return all;
  return text.split(",").map((wanted) => {
    const found = all.find(({ name }) => name === wanted);
    if (found === undefined) throw new Error(`${flag}: ${wanted} is none of ${all.map(({ name }) => name).join(", ")}`);
    return found;
  });
}

function wholeNumber(flag: string, text: string, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max)
    throw new Error(`${flag} takes a whole number from 1 to ${max}`);
  return value;
}
