import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { CST, Parser } from "yaml";
import { readTextFile } from "../config/read-text-file.ts";
import { sidecarFields } from "../config/sidecar-shape.ts";
import { CountersignError } from "../core/errors.ts";
import { compareRules } from "../policy-tools/compare-rules.ts";
import { createPolicyDiff, type DiffCollector } from "../policy-tools/diff-policies.ts";
import { generateCalls } from "../policy-tools/generate-calls.ts";
import { type GenerationCoverage, isUnproven, trackGeneration } from "../policy-tools/generation-coverage.ts";
import { rulesBeyondAudit } from "../policy-tools/reads-beyond-audit.ts";
import type { CliIo } from "./cli-io.ts";
import { nameOfInput } from "./input-lines.ts";
import { auditFilesOf, readAuditedCalls } from "./policy-audit-calls.ts";
import { loadPolicyContext, type PolicyContext } from "./policy-context.ts";
import { diffJson, diffText } from "./policy-diff-report.ts";
import { readRequestLines } from "./policy-request-lines.ts";

export interface DiffArguments {
  readonly config?: string;
  readonly trustDomain?: string;
  readonly audit?: readonly string[];
  readonly requests?: string;
  readonly generate?: string;
  readonly outbound?: true;
  readonly json?: true;
}

const GENERATED = 50_000;
/** Of a file that is compared; what reads it has the same limit, or a smaller one. */
const MAX_FILE_BYTES = 4 * 2 ** 20;

/** Which calls change verdict between two sets of policies. 0: none does; 1: some do, there was no call to compare by, or the sets differ in what no
 *  generated call shows. */
export async function diff(before: string, after: string, asked: DiffArguments, io: CliIo): Promise<number> {
  refuseMixed(asked);
  const sides = [await sideOf(before, asked, io), await sideOf(after, asked, io)] as const;
  const [old, next] = sides;
  const collector = createPolicyDiff(old, next);
  const { source, coverage } = await ask(collector, sides, asked, io);
  const found = { ...collector.result(), coverage };
  io.out(asked.json === true ? diffJson(found, sides, source) : diffText(found, sides, source, io.colour));
  if (found.calls === 0) io.err(`there is no call in ${source}, so nothing was compared: try --generate\n`);
  if (found.unlikeRecord > 0)
    io.err(
      `by ${before}, ${found.unlikeRecord} of ${found.calls} calls end otherwise than was recorded: what is said of them may not hold\n`,
    );
  const unproven = coverage !== undefined && isUnproven(coverage, found.changed + found.otherRule);
  return found.changed > 0 || found.calls === 0 || unproven ? 1 : 0;
}

/** What would be passed over is refused: the answer would be taken for one about all of it. */
function refuseMixed({ audit, requests, generate, outbound }: DiffArguments): void {
  const sources = [
    ...(audit === undefined ? [] : ["--audit"]),
    ...(requests === undefined ? [] : ["--requests"]),
    ...(generate === undefined ? [] : ["--generate"]),
  ];
  const [first, second] = sources;
  if (first !== undefined && second !== undefined)
    throw new CountersignError("E_POLICY_REQUEST", `${sources.join(" and ")} each say which calls are compared`, {
      fix: `give ${first} or ${second}`,
    });
  if (outbound === true && first !== undefined && first !== "--generate")
    throw new CountersignError("E_POLICY_REQUEST", `--outbound is about generated calls, and ${first} gives others`, {
      fix: `leave out --outbound: the calls of ${first} say their direction`,
    });
}

/** Policy files or folders, or a whole countersign.yaml. */
async function sideOf(path: string, { config, trustDomain }: DiffArguments, io: CliIo): Promise<PolicyContext> {
  if (await isConfiguration(resolve(io.cwd, path))) return loadPolicyContext({ config: path, trustDomain }, io);
  if (config === undefined)
    throw new CountersignError("E_POLICY_REQUEST", "policies alone do not say how they are read", {
      at: { file: path },
      fix: "give -c countersign.yaml",
    });
  return loadPolicyContext({ config, trustDomain }, io, [path]);
}

/** By the keys of its documents: policies have `apiVersion` and `kind`, perhaps misspelt, and a configuration has what only it has. */
async function isConfiguration(path: string): Promise<boolean> {
  const kind = await stat(path).catch(() => undefined);
  if (kind?.isFile() !== true) return false;
  const keys = await topKeys(path);
  const isOf = (known: readonly string[]) => keys.filter((key) => known.includes(key)).length;
  return isOf(CONFIGURATION_KEYS) > isOf(POLICY_KEYS);
}

const POLICY_KEYS = ["apiVersion", "kind", "metadata", "spec"];
const CONFIGURATION_KEYS = Object.keys(sidecarFields);

/** Of the first document; none of what is no YAML. */
async function topKeys(path: string): Promise<readonly string[]> {
  for (const token of new Parser().parse(await readTextFile(path, MAX_FILE_BYTES))) {
    if (token.type !== "document") continue;
    const { value } = token;
    if (value?.type !== "block-map" && value?.type !== "flow-collection") return [];
    return value.items.map(({ key }) => (CST.isScalar(key) ? CST.resolveAsScalar(key).value : ""));
  }
  return [];
}

/** Asks about the calls that were meant, and says which they were. */
async function ask(
  collector: DiffCollector,
  sides: readonly [PolicyContext, PolicyContext],
  asked: DiffArguments,
  io: CliIo,
): Promise<{ readonly source: string; readonly coverage: GenerationCoverage | undefined }> {
  if (asked.requests !== undefined) {
    await readRequestLines(asked.requests, io, (call) => void collector.add(call));
    return { source: nameOfInput(asked.requests), coverage: undefined };
  }
  // Of calls that this app makes only those that are made up were asked for.
  const generates = asked.generate !== undefined || asked.outbound === true;
  const files = generates ? [] : auditFiles(sides, asked, io);
  if (files.length > 0) {
    const { badLines } = await readAuditedCalls(files, io, ({ call, id, decision }) => {
      collector.add(call, { id, decision });
    });
    sayWhatIsUnknown(sides, io);
    if (badLines > 0) io.err(`${badLines} ${badLines === 1 ? "line was" : "lines were"} no audit record\n`);
    const source = files.length === 1 ? nameOfInput(files[0] ?? "") : `${files.length} audit files`;
    return { source, coverage: undefined };
  }
  const count = asked.generate === undefined ? GENERATED : countOf(asked.generate);
  const direction = asked.outbound === true ? "outbound" : "inbound";
  const policies = [sides[0].policy, sides[1].policy] as const;
  const rules = compareRules(policies, direction);
  const tracker = trackGeneration(policies, rules, direction);
  for (const made of generateCalls(policies, rules, count, direction)) tracker.saw(made, collector.add(made.call));
  return { source: "generated calls", coverage: tracker.result() };
}

/** A record holds no header, and little of a token: rules that ask for more may have decided otherwise. */
function sayWhatIsUnknown(sides: readonly PolicyContext[], io: CliIo): void {
  const rules = new Set(sides.flatMap(({ policy }) => rulesBeyondAudit(policy)));
  const [first] = rules;
  if (first === undefined) return;
  const more = rules.size === 1 ? "" : ` and ${rules.size - 1} more`;
  io.err(
    `records hold no headers, claims or server names, which ${first}${more} ask for: such calls are asked without\n`,
  );
}

/** Those that are named, else those of the configurations that are there. */
function auditFiles(sides: readonly PolicyContext[], { audit }: DiffArguments, io: CliIo): readonly string[] {
  const [first] = sides;
  if (first === undefined) return [];
  if (audit !== undefined && audit.length > 0) return auditFilesOf(audit, first.config, io.cwd);
  const sinks = first.config.audit.sinks.flatMap((sink) => (sink.kind === "file" ? [sink.path] : []));
  return sinks.filter((path) => existsSync(path));
}

function countOf(text: string): number {
  if (/^[1-9]\d{0,7}$/.test(text)) return Number(text);
  throw new CountersignError("E_POLICY_REQUEST", "--generate is no number from 1 on", {
    fix: "give how many calls to make, like --generate 50000",
  });
}
