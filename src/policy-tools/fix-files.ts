import type { PolicyFile } from "../authz/load-policies.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import type { CountersignError, SourcePosition, Warning } from "../core/errors.ts";
import { applyEdits, type CertainFix, certainFixes, unsettledFixes } from "./lint-fixes.ts";

/** What a look at a set of policies finds. */
export interface LintFindings {
  readonly errors: readonly CountersignError[];
  readonly warnings: readonly Warning[];
}

export interface FixedFile {
  readonly file: string;
  /** As it was read. */
  readonly before: string;
  readonly text: string;
  /** What was changed, for people. */
  readonly fixes: readonly string[];
}

/** A certain fix that is not made all the same. */
export interface LeftFix {
  readonly at: SourcePosition | undefined;
  readonly what: string;
  readonly why: string;
}

export interface FixResult<Found extends LintFindings> {
  readonly files: readonly FixedFile[];
  readonly left: readonly LeftFix[];
  /** What is found after the fixes. */
  readonly findings: Found;
}

/** A fix can uncover what the next look finds: errors hide warnings, and what is behind a misspelt key. */
const MAX_ROUNDS = 8;
/** Looks at the whole set that finding out which of many fixes are no good may take. */
const MAX_LOOKS = 40;

interface FileFix {
  readonly file: string;
  readonly fix: CertainFix;
}

interface State<Found> {
  readonly files: readonly PolicyFile[];
  readonly findings: Found;
}

interface Trial<Found> extends State<Found> {
  readonly fixes: readonly FileFix[];
  /** Fixes that did not settle what they are for; all of them, where together they make an error. */
  readonly blamed: ReadonlySet<FileFix>;
  readonly why: string | undefined;
}

/** Makes the fixes that are certain, as text alone: whoever asks writes the files. A fix is made when what it is for is gone after it, and when no
 *  error stands in the end that did not stand before, in whatever file; the others are left, each with the reason. `lint` looks at a set. */
export function fixFiles<Found extends LintFindings>(
  files: readonly PolicyFile[],
  options: PolicyOptions,
  lint: (files: readonly PolicyFile[]) => Found,
): FixResult<Found> {
  const first: State<Found> = { files, findings: lint(files) };
  const look = { left: MAX_LOOKS };
  const made = new Map<string, readonly CertainFix[]>();
  let state = first;
  let left: LeftFix[] = [];
  /** The last state that has no error which the first had not, and what was made until then. */
  let good = { state, made: new Map(made) };
  for (let round = 0; round < MAX_ROUNDS; round++) {
    left = [];
    const from = state;
    const best = chooseFixes(candidates(from, options), {
      attempt: (fixes) => attempt(first, from, fixes, options, lint),
      look,
      leave: ({ fix }, why) => left.push({ at: fix.settles.at, what: fix.what, why }),
    });
    if (best === undefined) break;
    for (const { file, fix } of best.fixes) made.set(file, [...(made.get(file) ?? []), fix]);
    state = { files: best.files, findings: best.findings };
    if (newErrors(first.findings, state.findings).length === 0) good = { state, made: new Map(made) };
  }
  if (good.state !== state)
    for (const [file, fixes] of made)
      for (const { settles, what } of fixes.slice(good.made.get(file)?.length ?? 0))
        left.push({ at: settles.at, what, why: "it uncovers an error that is left to people" });
  const before = new Map(files.map(({ file, text }) => [file, text]));
  const fixed = good.state.files.flatMap(({ file, text }) => {
    const fixes = good.made.get(file) ?? [];
    return fixes.length === 0
      ? []
      : [{ file, before: before.get(file) ?? "", text, fixes: fixes.map(({ what }) => what) }];
  });
  return { files: fixed, left, findings: good.state.findings };
}

function candidates({ files, findings }: State<LintFindings>, options: PolicyOptions): readonly FileFix[] {
  const byFile = Map.groupBy(allOf(findings), ({ at }) => at?.file);
  return files.flatMap(({ file, text }) => {
    const own = byFile.get(file) ?? [];
    // What came from a URL is changed where it comes from.
    const fixes = own.length === 0 || /^https?:/.test(file) ? [] : certainFixes(text, own, options);
    return fixes.map((fix) => ({ file, fix }));
  });
}

interface Choice<Found> {
  readonly attempt: (fixes: readonly FileFix[]) => Trial<Found>;
  readonly look: { left: number };
  readonly leave: (fix: FileFix, why: string) => void;
}

/** As many of the fixes as go together: all of them at once, else in parts, down to each by itself. Undefined: none of them. */
function chooseFixes<Found extends LintFindings>(
  fixes: readonly FileFix[],
  choice: Choice<Found>,
  accepted?: Trial<Found>,
): Trial<Found> | undefined {
  const [one] = fixes;
  if (one === undefined) return accepted;
  if (choice.look.left <= 0) {
    for (const fix of fixes) choice.leave(fix, "there are too many that do not go together");
    return accepted;
  }
  const trial = choice.attempt([...(accepted?.fixes ?? []), ...fixes]);
  if (trial.why === undefined) return trial;
  choice.look.left--;
  if (fixes.length === 1) {
    choice.leave(one, trial.why);
    return accepted;
  }
  const { true: blamed = [], false: others = [] } = Object.groupBy(fixes, (fix) =>
    trial.blamed.has(fix) ? "true" : "false",
  );
  const half = Math.ceil(fixes.length / 2);
  const parts = blamed.length > 0 && others.length > 0 ? [others, blamed] : [fixes.slice(0, half), fixes.slice(half)];
  return parts.reduce<Trial<Found> | undefined>((best, part) => chooseFixes(part, choice, best), accepted);
}

/** What becomes of the files with these fixes, and why that is no good. */
function attempt<Found extends LintFindings>(
  first: State<Found>,
  from: State<Found>,
  fixes: readonly FileFix[],
  options: PolicyOptions,
  lint: (files: readonly PolicyFile[]) => Found,
): Trial<Found> {
  const byFile = Map.groupBy(fixes, ({ file }) => file);
  const files = withFixes(from.files, fixes);
  const findings = lint(files);
  const trial = { files, findings, fixes };
  const broken = findings.errors.find(({ code, at }) => code === "E_POLICY_YAML" && byFile.has(at?.file ?? ""));
  const [made] = broken === undefined ? newErrors(first.findings, findings) : [broken];
  if (made !== undefined && (made === broken || !endsWithoutNewErrors(first, trial, options, lint))) {
    const inFile = fixes.filter(({ file }) => file === made.at?.file);
    const why = `it would make an error: ${made.code} ${made.message}`;
    return { ...trial, why, blamed: new Set(inFile.length === 0 ? fixes : inFile) };
  }
  const [before, after] = [from.findings, findings].map((some) => Map.groupBy(allOf(some), ({ at }) => at?.file));
  const blamed = new Set<FileFix>();
  for (const { file, text } of from.files) {
    const own = byFile.get(file) ?? [];
    const edits = own.map(({ fix }) => fix);
    const unsettled = new Set(
      own.length === 0 ? [] : unsettledFixes(text, edits, before?.get(file) ?? [], after?.get(file) ?? []),
    );
    for (const one of own) if (unsettled.has(one.fix)) blamed.add(one);
  }
  const [one] = blamed;
  return { ...trial, blamed, why: one && `${one.fix.settles.code} would be found there all the same` };
}

/** Whether the errors that fixes uncover are gone after the certain fixes of those. */
function endsWithoutNewErrors<Found extends LintFindings>(
  first: State<Found>,
  from: State<Found>,
  options: PolicyOptions,
  lint: (files: readonly PolicyFile[]) => Found,
): boolean {
  let state = from;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const fixes = candidates(state, options);
    if (fixes.length === 0) return false;
    const files = withFixes(state.files, fixes);
    state = { files, findings: lint(files) };
    if (newErrors(first.findings, state.findings).length === 0) return true;
  }
  return false;
}

function withFixes(files: readonly PolicyFile[], fixes: readonly FileFix[]): readonly PolicyFile[] {
  const byFile = Map.groupBy(fixes, ({ file }) => file);
  return files.map((one) => {
    const own = byFile.get(one.file);
    if (own === undefined) return one;
    return {
      file: one.file,
      text: applyEdits(
        one.text,
        own.map(({ fix }) => fix),
      ),
    };
  });
}

/** The errors of `after` that `before` has not as often: by file, code and message, for lines move. */
function newErrors(before: LintFindings, after: LintFindings): readonly CountersignError[] {
  const known = new Map<string, number>();
  const keyOf = ({ at, code, message }: CountersignError) => JSON.stringify([at?.file, code, message]);
  for (const error of before.errors) known.set(keyOf(error), (known.get(keyOf(error)) ?? 0) + 1);
  return after.errors.filter((error) => {
    const count = known.get(keyOf(error)) ?? 0;
    known.set(keyOf(error), count - 1);
    return count <= 0;
  });
}

function allOf({ errors, warnings }: LintFindings): readonly (CountersignError | Warning)[] {
  return [...errors, ...warnings];
}
