import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { CountersignError } from "../core/errors.ts";
import { createPolicyDiff, type DiffCollector } from "../policy-tools/diff-policies.ts";
import { generateCalls } from "../policy-tools/generate-calls.ts";
import { rulesBeyondAudit } from "../policy-tools/reads-beyond-audit.ts";
import type { CliIo } from "./cli-io.ts";
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

/** Which calls change verdict between two sets of policies. 0: none does; 1: some do, or there was no call to compare by. */
export async function diff(before: string, after: string, asked: DiffArguments, io: CliIo): Promise<number> {
  const sides = [await sideOf(before, asked, io), await sideOf(after, asked, io)] as const;
  const [old, next] = sides;
  const collector = createPolicyDiff(old, next);
  const source = await ask(collector, sides, asked, io);
  const found = collector.result();
  io.out(asked.json === true ? diffJson(found, sides, source) : diffText(found, sides, source, io.colour));
  if (found.calls === 0) io.err(`there is no call in ${source}, so nothing was compared: try --generate\n`);
  if (found.unlikeRecord > 0)
    io.err(
      `by ${before}, ${found.unlikeRecord} of ${found.calls} calls end otherwise than was recorded: what is said of them may not hold\n`,
    );
  return found.changed > 0 || found.calls === 0 ? 1 : 0;
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

async function isConfiguration(path: string): Promise<boolean> {
  const kind = await stat(path).catch(() => undefined);
  return kind?.isFile() === true && !(await readFile(path, "utf8")).includes("apiVersion");
}

/** Asks about the calls that were meant, and says which they were. */
async function ask(
  collector: DiffCollector,
  sides: readonly PolicyContext[],
  asked: DiffArguments,
  io: CliIo,
): Promise<string> {
  const direction = asked.outbound === true ? "outbound" : "inbound";
  if (asked.requests !== undefined) {
    await readRequestLines(resolve(io.cwd, asked.requests), (call) => collector.add(call));
    return asked.requests;
  }
  const files = asked.generate === undefined ? auditFiles(sides, asked, io) : [];
  if (files.length > 0) {
    const { badLines } = await readAuditedCalls(files, ({ call, id, decision }) =>
      collector.add(call, { id, decision }),
    );
    sayWhatIsUnknown(sides, io);
    if (badLines > 0) io.err(`${badLines} ${badLines === 1 ? "line was" : "lines were"} no audit record\n`);
    return files.length === 1 ? (files[0] ?? "") : `${files.length} audit files`;
  }
  const count = asked.generate === undefined ? GENERATED : countOf(asked.generate);
  const policies = sides.map(({ policy }) => policy);
  for (const call of generateCalls(policies, count, direction)) collector.add(call);
  return "generated calls";
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
