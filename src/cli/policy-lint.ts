import { realpath, rename, stat, writeFile } from "node:fs/promises";
import { loadPolicies } from "../authz/load-policies.ts";
import "../authz/use-cel.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import type { SourceFile } from "../config/policy-source.ts";
import { type CountersignError, CountersignErrors, type Warning } from "../core/errors.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import { applyEdits, areSettled, type CertainFix, certainFixes, type TextEdit } from "../policy-tools/lint-fixes.ts";
import { lintReach } from "../policy-tools/lint-reach.ts";
import { lintRules } from "../policy-tools/lint-rules.ts";
import type { CliIo } from "./cli-io.ts";
import { type Findings, fileNamer, findingsAsJson, findingsAsText } from "./findings-report.ts";
import { loadPolicyFiles, loadPolicySettings } from "./policy-context.ts";

export interface LintArguments {
  readonly config: string;
  readonly trustDomain?: string;
  readonly fix?: true;
  readonly json?: true;
}

interface Fixed {
  readonly file: string;
  readonly edits: readonly TextEdit[];
}

/** A fix can uncover what the next look finds: errors hide warnings, and what is behind a misspelt key. */
const MAX_ROUNDS = 8;

/** Everything that is wrong with policies, or probably not meant. 1: something is left. */
export async function lint(named: readonly string[], asked: LintArguments, io: CliIo): Promise<number> {
  const { config, options } = await loadPolicySettings(asked, io);
  const nameFile = fileNamer(asked.config, io.cwd);
  let files = await loadPolicyFiles(config, named, io);
  let findings = lintFiles(files, options, nameFile);
  const fixed: Fixed[] = [];
  for (let round = 0; asked.fix === true && round < MAX_ROUNDS; round++) {
    const edited = editFiles(files, findings, options, nameFile);
    if (edited.files.length === 0) break;
    for (const { file, text, edits } of edited.files) {
      // one file after the other: what fails leaves the others as they are
      // oxlint-disable-next-line no-await-in-loop
      await replaceFile(file, text);
      fixed.push({ file, edits });
    }
    files = withEdited(files, edited.files);
    findings = edited.findings;
  }
  io.out(asked.json === true ? lintJson(findings, fixed, nameFile) : lintText(findings, fixed, nameFile, io.colour));
  return findings.errors.length + findings.warnings.length > 0 ? 1 : 0;
}

type FileNamer = ReturnType<typeof fileNamer>;

/** Errors of the loader, or else all warnings. */
function lintFiles(files: readonly SourceFile[], options: PolicyOptions, nameFile: FileNamer): Findings {
  try {
    const { warnings, documents } = loadPolicies(files, options);
    const more = [
      ...lintRules(documents.policies, options),
      ...lintReach(documents.policies, options, undefined, nameFile),
    ];
    // A load compares less, and names some of what it finds.
    const others = warnings.filter(({ code }) => code !== "W_POLICY_SHADOWED" && code !== "W_POLICY_LINT_LIMIT");
    return { errors: [], warnings: [...others, ...more] };
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    return { errors: error.errors, warnings: [] };
  }
}

interface EditedFile extends SourceFile {
  /** What stood there before. */
  readonly written: string;
  readonly edits: readonly CertainFix[];
}

/** The files that some fix changes, and what is found after that. A file's edits are taken when what they are for is gone after them, and a set
 *  without error still has none. */
function editFiles(
  files: readonly SourceFile[],
  findings: Findings,
  options: PolicyOptions,
  nameFile: FileNamer,
): { readonly files: readonly EditedFile[]; readonly findings: Findings } {
  const byFile = Map.groupBy(findingsOf(findings), ({ at }) => at?.file);
  let edited = files.flatMap(({ file, text }): readonly EditedFile[] => {
    const own = byFile.get(file) ?? [];
    // What came from a URL is changed where it comes from.
    const edits = own.length === 0 || /^https?:/.test(file) ? [] : certainFixes(text, own, options);
    return edits.length === 0 ? [] : [{ file, text: applyEdits(text, edits), written: text, edits }];
  });
  // Every look either ends it or leaves a file out.
  while (edited.length > 0) {
    const after = lintFiles(withEdited(files, edited), options, nameFile);
    const left = Map.groupBy(findingsOf(after), ({ at }) => at?.file);
    const broken = new Set(findings.errors.length === 0 ? after.errors.map(({ at }) => at?.file) : []);
    const good = edited.filter(
      ({ file, written, edits }) =>
        !broken.has(file) && areSettled(written, edits, byFile.get(file) ?? [], left.get(file) ?? []),
    );
    if (good.length === edited.length && broken.size === 0) return { files: edited, findings: after };
    // An error that stands elsewhere came from one of them all the same.
    edited = good.length < edited.length ? good : [];
  }
  return { files: [], findings };
}

function withEdited(files: readonly SourceFile[], edited: readonly EditedFile[]): readonly SourceFile[] {
  const byName = new Map(edited.map((one) => [one.file, one]));
  return files.map((one) => byName.get(one.file) ?? one);
}

function findingsOf({ errors, warnings }: Findings): readonly (CountersignError | Warning)[] {
  return [...errors, ...warnings];
}

/** Whole or not at all. What a link leads to is replaced, not the link. */
async function replaceFile(named: string, text: string): Promise<void> {
  const file = await realpath(named);
  const { mode } = await stat(file);
  const temporary = `${file}.${process.pid}.fix`;
  await writeFile(temporary, text, { mode, flag: "wx" });
  await rename(temporary, file);
}

function lintJson(findings: Findings, fixed: readonly Fixed[], nameFile: (file: string) => string): string {
  const found = JSON.parse(findingsAsJson(findings, nameFile)) as object;
  const done = fixed.flatMap(({ file, edits }) => edits.map(({ what }) => ({ file: nameFile(file), what })));
  return `${asciiJson(JSON.stringify({ ...found, fixed: done }, null, 2))}\n`;
}

function lintText(
  findings: Findings,
  fixed: readonly Fixed[],
  nameFile: (file: string) => string,
  colour: boolean,
): string {
  const lines = fixed.flatMap(({ file, edits }) =>
    edits.map(({ what }) => `fixed  ${printable(nameFile(file))}  ${printable(what)}\n`),
  );
  const gap = lines.length === 0 ? "" : "\n";
  return lines.join("") + gap + findingsAsText(findings, nameFile, colour);
}
