import type { PolicyTestRow } from "../config/policy-test-file.ts";
import type { RuleId } from "../core/decision.ts";
import type { SourcePosition } from "../core/errors.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import type { PolicyAnswer } from "../policy-tools/ask-policy.ts";

export interface RowResult {
  readonly row: PolicyTestRow;
  readonly title: string;
  readonly answer: PolicyAnswer;
  readonly passed: boolean;
  readonly problems: readonly string[];
}

export interface TestReport {
  readonly files: readonly { readonly file: string; readonly results: readonly RowResult[] }[];
  readonly rules: {
    readonly total: number;
    /** Rules that decided no call of the tables. */
    readonly never: readonly { readonly rule: RuleId; readonly at: SourcePosition }[];
    /** Percent of the rules that did. */
    readonly share: number;
  };
  /** The least share. */
  readonly wanted: number;
}

type NameFile = (file: string) => string;

export function testReportJson({ files, rules }: TestReport, nameFile: NameFile): string {
  const document = {
    passed: count(files, true),
    failed: count(files, false),
    files: files.map(({ file, results }) => ({
      file: nameFile(file),
      tests: results.map(({ row, title, answer, passed, problems }) => ({
        name: title,
        line: row.at.line ?? null,
        passed,
        problems,
        decision: answer.decision,
        rule: answer.rule ?? null,
        reason: answer.reason,
        detail: answer.detail,
        nearest: answer.nearest ?? null,
      })),
    })),
    coverage: {
      rules: rules.total,
      covered: rules.total - rules.never.length,
      percent: Math.floor(rules.share * 10) / 10,
      never: rules.never.map(({ rule, at }) => ({
        rule,
        file: nameFile(at.file),
        line: at.line ?? null,
        column: at.column ?? null,
      })),
    },
  };
  return `${asciiJson(JSON.stringify(document, null, 2))}\n`;
}

/** Rows that failed, or all of them, then what the rules of the policies had to do. */
export function testReportText(report: TestReport, nameFile: NameFile, verbose: boolean, colour: boolean): string {
  const paint = (code: number, text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const { files, rules, wanted } = report;
  let text = "";
  for (const { file, results } of files) {
    const failed = results.filter(({ passed }) => !passed).length;
    text += `${paint(1, printable(nameFile(file)))}  ${results.length - failed} passed${failed === 0 ? "" : `, ${paint(31, `${failed} failed`)}`}\n`;
    for (const { row, title, answer, passed, problems } of results) {
      if (passed && !verbose) continue;
      const mark = passed ? paint(32, "pass") : paint(31, "FAIL");
      text += `  ${mark}  ${row.at.line ?? 0}: ${printable(title)}\n`;
      for (const problem of problems) text += `        ${printable(problem)}\n`;
      if (!passed) text += `        ${printable(answer.detail)}\n`;
    }
  }
  const covered = rules.total - rules.never.length;
  const share = `${Math.floor(rules.share)} %`;
  text += `rules: ${covered} of ${rules.total} decided a call (${rules.share < wanted ? paint(31, `${share}, ${wanted} % wanted`) : share})\n`;
  for (const { rule, at } of rules.never)
    text += `  never: ${rule}  ${printable(nameFile(at.file))}:${at.line ?? 1}:${at.column ?? 1}\n`;
  return `${text}${count(files, true)} passed, ${count(files, false)} failed\n`;
}

function count(files: TestReport["files"], passed: boolean): number {
  return files.reduce((sum, { results }) => sum + results.filter((result) => result.passed === passed).length, 0);
}
