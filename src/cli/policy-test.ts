import { readdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { ruleIdOf } from "../authz/compile-rule.ts";
import { isPolicyTestName } from "../config/policy-source.ts";
import { loadPolicyTestFile, type PolicyTestFile, type PolicyTestRow } from "../config/policy-test-file.ts";
import type { RuleId } from "../core/decision.ts";
import { CountersignError, type SourcePosition } from "../core/errors.ts";
import { askPolicy, type PolicyAnswer } from "../policy-tools/ask-policy.ts";
import { type AskedCall, readAskedCall } from "../policy-tools/asked-call.ts";
import type { CliIo } from "./cli-io.ts";
import { fileNamer } from "./findings-report.ts";
import { loadPolicyContext, type PolicyContext } from "./policy-context.ts";
import { type RowResult, type TestReport, testReportJson, testReportText } from "./policy-test-report.ts";

export interface TestArguments {
  readonly config?: string;
  readonly trustDomain?: string;
  readonly coverage: string;
  readonly verbose?: true;
  readonly json?: true;
}

/** Runs tables of tests. 1: a row failed, or fewer rules than asked for decided a call; 2: a table, configuration or policy is invalid. */
export async function test(named: readonly string[], asked: TestArguments, io: CliIo): Promise<number> {
  const wanted = percentOf(asked.coverage);
  const contexts = new Map<string, PolicyContext>();
  const touched = new Map<PolicyContext, Set<RuleId>>();
  const files: { file: string; results: RowResult[] }[] = [];
  for (const name of await testFiles(named, asked.config, io)) {
    const file = await loadPolicyTestFile(name, io.env);
    const config = file.config ?? (asked.config === undefined ? undefined : resolve(io.cwd, asked.config));
    if (config === undefined)
      throw new CountersignError("E_POLICY_TEST", "the table names no config, and there is no -c", {
        at: { file: name },
        fix: "give -c countersign.yaml, or write `config:` with its path beside `tests:`",
      });
    const trustDomain = asked.trustDomain ?? file.trustDomain;
    const key = JSON.stringify([config, trustDomain]);
    const context = contexts.get(key) ?? (await loadPolicyContext({ config, trustDomain }, io));
    contexts.set(key, context);
    const rules = touched.get(context) ?? new Set();
    touched.set(context, rules);
    files.push({ file: name, results: file.tests.map((row) => runRow(row, file, context, rules)) });
  }
  const nameFile = fileNamer(asked.config ?? named[0] ?? "", io.cwd);
  const report: TestReport = { files, rules: coverageOf(touched), wanted };
  io.out(
    asked.json === true
      ? testReportJson(report, nameFile)
      : testReportText(report, nameFile, asked.verbose === true, io.colour),
  );
  const failed = files.some(({ results }) => results.some(({ passed }) => !passed));
  return failed || report.rules.share < wanted ? 1 : 0;
}

function runRow(row: PolicyTestRow, file: PolicyTestFile, context: PolicyContext, rules: Set<RuleId>): RowResult {
  const call = callOf(row, file);
  const answer = askPolicy(context.policy, call, context.ask);
  for (const rule of answer.rules) rules.add(rule);
  const problems: string[] = [];
  if (answer.decision !== row.expect) problems.push(`expected ${row.expect}, was ${answer.decision}`);
  if (row.rule !== undefined && !isRule(row.rule, answer, context))
    problems.push(`expected rule ${row.rule}, was ${answer.rule ?? "none"}`);
  if (row.reason !== undefined && row.reason !== answer.reason)
    problems.push(`expected reason ${row.reason}, was ${answer.reason}`);
  return { row, title: row.name ?? titleOf(call), answer, passed: problems.length === 0, problems };
}

/** The call that a row describes, with the file's defaults. */
function callOf(row: PolicyTestRow, { defaults }: PolicyTestFile): AskedCall {
  const all = { ...defaults, ...Object.fromEntries(Object.entries(row).filter(([, value]) => value !== undefined)) };
  const { from, to, ip, remoteIp, destinationIp, port, sni, protocol, method, host, path, claims, time } =
    all as PolicyTestRow;
  try {
    return readAskedCall({
      direction: to === undefined ? "inbound" : "outbound",
      source: { spiffeId: from === "nobody" ? undefined : from, ip, remoteIp },
      destination: { spiffeId: to, ip: destinationIp, port },
      connection: { sni },
      time,
      ...(protocol === "tcp"
        ? { protocol }
        : {
            request: { method, host, path, headers: Object.fromEntries((all as PolicyTestRow).headers ?? []), claims },
          }),
    });
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    throw new CountersignError(error.code, error.message, { at: row.at });
  }
}

function titleOf({ request, source, destination }: AskedCall): string {
  const what = request === undefined ? "TCP" : `${request.method} ${request.path}`;
  const to = destination.spiffeId === undefined ? "" : ` to ${destination.spiffeId.slice("spiffe://".length)}`;
  return `${what}${to} by ${source.spiffeId?.slice("spiffe://".length) ?? "nobody"}`;
}

function isRule(wanted: string, { rule }: PolicyAnswer, { config }: PolicyContext): boolean {
  if (wanted === "none" || rule === undefined) return wanted === "none" && rule === undefined;
  const [, policy, index] = /^([^/[\]]+)\/(\d+)$/.exec(wanted) ?? [];
  return rule === wanted || rule === `ns[${config.workload.namespace}]-policy[${policy}]-rule[${index}]`;
}

/** A rule that several tables read, under other trust domains say, is one: it stands at one place of one file. */
function coverageOf(touched: ReadonlyMap<PolicyContext, ReadonlySet<RuleId>>): TestReport["rules"] {
  const all = new Map<string, { readonly rule: RuleId; readonly at: SourcePosition; decided: boolean }>();
  for (const [{ policy }, rules] of touched)
    for (const one of policy.policies)
      for (const model of one.rules) {
        const { at } = model;
        const rule = ruleIdOf(one, model);
        const key = JSON.stringify([rule, at.file, at.line, at.column]);
        const known = all.get(key) ?? { rule, at, decided: false };
        known.decided ||= rules.has(rule);
        all.set(key, known);
      }
  const never = [...all.values()].filter(({ decided }) => !decided).map(({ rule, at }) => ({ rule, at }));
  const total = all.size;
  return { total, never, share: total === 0 ? 100 : (100 * (total - never.length)) / total };
}

/** The tables named, those in the folders named, else those beside the configuration and in the folders below it that hold any. */
async function testFiles(named: readonly string[], config: string | undefined, io: CliIo): Promise<readonly string[]> {
  const roots =
    named.length > 0 ? named.map((name) => resolve(io.cwd, name)) : [resolve(io.cwd, dirname(config ?? "."))];
  const found: string[] = [];
  for (const root of roots) {
    const kind = await stat(root).catch(() => undefined);
    if (kind === undefined)
      throw new CountersignError("E_POLICY_TEST", "there is no such file", { at: { file: root } });
    if (kind.isDirectory()) found.push(...(await tablesIn(root)));
    else found.push(root);
  }
  if (found.length === 0)
    throw new CountersignError("E_POLICY_TEST", "there is no *.test.yaml", { at: { file: roots[0] ?? io.cwd } });
  return [...new Set(found)];
}

const MAX_TABLES = 10_000;
const MAX_DEPTH = 8;

async function tablesIn(folder: string, depth = 0): Promise<readonly string[]> {
  const found: string[] = [];
  const entries = (await readdir(folder, { withFileTypes: true })).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory() && depth < MAX_DEPTH) found.push(...(await tablesIn(path, depth + 1)));
    else if (!entry.isDirectory() && isPolicyTestName(entry.name)) found.push(path);
    if (found.length > MAX_TABLES)
      throw new CountersignError("E_POLICY_TEST", `there are more than ${MAX_TABLES} tables`, { at: { file: folder } });
  }
  return found;
}

function percentOf(text: string): number {
  if (!/^(?:100|\d{1,2})$/.test(text))
    throw new CountersignError("E_POLICY_REQUEST", "--coverage is no number from 0 to 100", {
      fix: "give the percentage of rules, like --coverage 100",
    });
  return Number(text);
}
