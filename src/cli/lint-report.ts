import type { SourcePosition, Warning } from "../core/errors.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import type { AcceptedWarning } from "../policy-tools/accepted-warnings.ts";
import type { FixedFile, LeftFix, LintFindings } from "../policy-tools/fix-files.ts";
import { type fileNamer, findingsAsJson, findingsAsText } from "./findings-report.ts";

/** What `policy lint` has to say. */
export interface LintReport {
  readonly findings: LintFindings & {
    readonly notes: readonly LintNote[];
    readonly accepted: readonly AcceptedWarning[];
  };
  readonly fixed: readonly FixedFile[];
  readonly left: readonly LeftFix[];
}

/** What is worth a line and no failure. */
export interface LintNote extends Pick<Warning, "message" | "fix"> {
  readonly at: SourcePosition | undefined;
}

type FileNamer = ReturnType<typeof fileNamer>;

/** What `check --json` prints, and `fixed`, `notFixed`, `accepted` and `notes`. */
export function lintAsJson({ findings, fixed, left }: LintReport, nameFile: FileNamer): string {
  const found = JSON.parse(findingsAsJson(findings, nameFile)) as object;
  const place = (at: SourcePosition | undefined) => ({
    file: at === undefined ? null : nameFile(at.file),
    line: at?.line ?? null,
    column: at?.column ?? null,
  });
  const said = {
    ...found,
    fixed: fixed.flatMap(({ file, fixes }) => fixes.map((what) => ({ file: nameFile(file), what }))),
    notFixed: left.map(({ at, what, why }) => ({ ...place(at), what, why })),
    accepted: findings.accepted.map(({ warning: { code, message, at }, why }) => ({
      code,
      message,
      ...place(at),
      why,
    })),
    notes: findings.notes.map(({ at, message, fix }) => ({ message, ...place(at), fix: fix ?? null })),
  };
  return `${asciiJson(JSON.stringify(said, null, 2))}\n`;
}

/** For people: what was done, what was not and why, and what is found, notes last. */
export function lintAsText({ findings, fixed, left }: LintReport, nameFile: FileNamer, colour: boolean): string {
  const done = fixed.flatMap(({ file, fixes }) =>
    fixes.map((what) => `fixed  ${printable(nameFile(file))}  ${printable(what)}\n`),
  );
  const undone = left.map(
    ({ at, what, why }) => `not fixed  ${printable(placeOf(at, nameFile))}  ${printable(`${what}: ${why}`)}\n`,
  );
  const notes = findings.notes.map(({ at, message, fix }) => {
    const advice = fix === undefined ? "" : `    fix: ${printable(fix)}\n`;
    return `${printable(placeOf(at, nameFile))}  note  ${printable(message)}\n${advice}`;
  });
  const gap = (lines: readonly string[]) => (lines.length === 0 ? "" : `${lines.join("")}\n`);
  const { length } = findings.accepted;
  const accepted = length === 0 ? "" : `${length} warning${length === 1 ? "" : "s"} accepted by comments\n`;
  return gap([...done, ...undone]) + gap(notes) + findingsAsText(findings, nameFile, colour) + accepted;
}

function placeOf(at: SourcePosition | undefined, nameFile: FileNamer): string {
  if (at === undefined) return "";
  return [nameFile(at.file), at.line, at.column].filter((part) => part !== undefined).join(":");
}
