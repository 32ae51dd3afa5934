import { isAbsolute, relative } from "node:path";
import { errorCodes } from "../core/error-codes.ts";
import { CountersignError, type Warning } from "../core/errors.ts";
import { asciiJson, printable } from "../core/safe-text.ts";

export type Finding = CountersignError | Warning;

/** What is wrong, as `check` found it. */
export interface Findings {
  readonly errors: readonly CountersignError[];
  readonly warnings: readonly Warning[];
}

/** `{"errors": [...], "warnings": [...]}`, each `{code, message, file, line, column, fix}`; what is unknown is null. */
export function findingsAsJson(findings: Findings, nameFile: (file: string) => string): string {
  const asObject = (finding: Finding) => ({
    code: finding.code,
    message: finding.message,
    file: finding.at === undefined ? null : nameFile(finding.at.file),
    line: finding.at?.line ?? null,
    column: finding.at?.column ?? null,
    fix: fixOf(finding) ?? null,
  });
  const { errors, warnings } = findings;
  return `${asciiJson(JSON.stringify({ errors: errors.map(asObject), warnings: warnings.map(asObject) }, null, 2))}\n`;
}

/** For people: by file, in the order of its lines, each with its fix. */
export function findingsAsText(findings: Findings, nameFile: (file: string) => string, colour: boolean): string {
  const all: readonly Finding[] = [...findings.errors, ...findings.warnings];
  const byFile = Map.groupBy(all, ({ at }) => at?.file ?? "");
  const paint = colour
    ? (code: number, text: string) => `\u001b[${code}m${text}\u001b[0m`
    : (_: number, text: string) => text;
  let text = "";
  for (const [file, found] of byFile) {
    for (const finding of found.toSorted(byPlace)) {
      const { line, column } = finding.at ?? {};
      const place = [file === "" ? "" : nameFile(file), line, line === undefined ? undefined : column];
      const kind = isError(finding) ? paint(31, "error") : paint(33, "warning");
      const where = place.filter((part) => part !== undefined && part !== "").join(":");
      text += `${paint(1, printable(where))}  ${kind} ${finding.code}  ${printable(finding.message)}\n`;
      const fix = fixOf(finding);
      if (fix !== undefined) text += `    fix: ${printable(fix)}\n`;
    }
    text += "\n";
  }
  return `${text}${count(findings.errors.length, "error")}, ${count(findings.warnings.length, "warning")}\n`;
}

/** Files below the current folder by their short name, if the person who asked used one too. */
export function fileNamer(asked: string, cwd: string): (file: string) => string {
  return (file) => {
    const short = relative(cwd, file);
    return isAbsolute(asked) || short === "" || short.startsWith("..") ? file : short;
  };
}

function isError(finding: Finding): finding is CountersignError {
  return finding instanceof CountersignError;
}

function fixOf(finding: Finding): string | undefined {
  return finding.fix ?? (isError(finding) ? errorCodes[finding.code].fix : undefined);
}

function byPlace(a: Finding, b: Finding): number {
  return (a.at?.line ?? 0) - (b.at?.line ?? 0) || (a.at?.column ?? 0) - (b.at?.column ?? 0);
}

function count(n: number, what: string): string {
  return `${n === 0 ? "no" : n} ${what}${n === 1 ? "" : "s"}`;
}
