import type { PolicyFile } from "../authz/load-policies.ts";
import { didYouMean } from "../core/did-you-mean.ts";
import type { SourcePosition, Warning } from "../core/errors.ts";
import { commentLines, type LocatedComment } from "./comment-lines.ts";

/** A warning that a comment in the file accepts, and the reason that the comment gives. */
export interface AcceptedWarning {
  readonly warning: Warning;
  readonly why: string;
}

export interface JudgedWarnings {
  /** Those that nobody accepts, and what is wrong with comments. */
  readonly warnings: readonly Warning[];
  readonly accepted: readonly AcceptedWarning[];
  /** Comments that accept nothing here and may do so for another workload. */
  readonly idle: readonly { readonly message: string; readonly at: SourcePosition; readonly fix: string }[];
}

/** Every warning of policies, and whether it depends on the workload or configuration that policies are looked at for. */
export const POLICY_WARNINGS: ReadonlyMap<string, "everywhere" | "here"> = new Map([
  ["W_POLICY_BROAD", "everywhere"],
  ["W_POLICY_CONNECT", "here"],
  ["W_POLICY_CONTRADICTION", "here"],
  ["W_POLICY_EMPTY", "here"],
  ["W_POLICY_LINT_LIMIT", "here"],
  ["W_POLICY_NEVER_MATCHES", "here"],
  ["W_POLICY_NO_TOKENS", "here"],
  ["W_POLICY_PROVIDER", "here"],
  ["W_POLICY_SELECTOR", "here"],
  ["W_POLICY_SHADOWED", "here"],
  ["W_POLICY_TARGET_REFS", "here"],
  ["W_POLICY_TRUST_DOMAIN", "here"],
  ["W_POLICY_TWO_ITEMS", "everywhere"],
  ["W_POLICY_UNREACHABLE", "here"],
  ["W_POLICY_VALUE_REPEATED", "here"],
]);

const MARK = "countersign-lint";
const FORM = `# ${MARK}: accept W_POLICY_… why`;

interface Acceptance {
  readonly code: string;
  readonly why: string;
  readonly at: SourcePosition;
  readonly first: number;
  readonly last: number;
}

/** Takes out the warnings that comments of their files accept: `# countersign-lint: accept W_POLICY_TWO_ITEMS either is meant`, on the line of the
 *  warning, alone on a line above it, or above a document's first line for all of that document. What such a comment has wrong is a warning of its
 *  own, W_POLICY_ACCEPT, which none accepts; nor does any accept an error. Asked only where there is no error: errors hide warnings. */
export function judgeWarnings(files: readonly PolicyFile[], warnings: readonly Warning[]): JudgedWarnings {
  const acceptances = new Map<string, readonly Acceptance[]>();
  const problems: Warning[] = [];
  for (const { file, text } of files)
    if (text.includes(MARK)) acceptances.set(file, acceptancesOf(file, text, problems));
  const used = new Set<Acceptance>();
  const accepted: AcceptedWarning[] = [];
  const left: Warning[] = [];
  for (const warning of warnings) {
    const { line = 0, file = "" } = warning.at ?? {};
    const by = (acceptances.get(file) ?? []).filter(
      ({ code, first, last }) => code === warning.code && first <= line && line <= last,
    );
    for (const one of by) used.add(one);
    if (by[0] === undefined) left.push(warning);
    else accepted.push({ warning, why: by[0].why });
  }
  const idle: JudgedWarnings["idle"][number][] = [];
  for (const one of [...acceptances.values()].flat()) {
    if (used.has(one)) continue;
    const message = `${one.code} is accepted where there is none`;
    if (POLICY_WARNINGS.get(one.code) === "everywhere")
      problems.push({
        code: "W_POLICY_ACCEPT",
        message,
        at: one.at,
        fix: "remove the comment, or put it on the line of the warning",
      });
    else idle.push({ message, at: one.at, fix: "remove the comment, unless there is one for another workload" });
  }
  return { warnings: [...left, ...problems], accepted, idle };
}

function acceptancesOf(file: string, text: string, problems: Warning[]): readonly Acceptance[] {
  const { comments, documents } = commentLines(text);
  return comments.flatMap((comment) => {
    const at = { file, line: comment.line, column: comment.column };
    const read = readComment(comment);
    if (read === undefined) return [];
    if ("fix" in read) {
      problems.push({ code: "W_POLICY_ACCEPT", at, ...read });
      return [];
    }
    const { about = 0 } = comment;
    const whole = documents.find(({ first }) => first === about && about > comment.line);
    return [{ ...read, at, first: about, last: whole?.last ?? about }];
  });
}

/** What a comment accepts, or what is wrong with it. Undefined: it is about something else. */
function readComment({
  text,
}: LocatedComment): Pick<Acceptance, "code" | "why"> | { readonly message: string; readonly fix: string } | undefined {
  const rest = /^#+\s*countersign-lint\b(.*)$/.exec(text.trimEnd())?.[1];
  if (rest === undefined) return undefined;
  const [, code, why = ""] = /^:\s*accept\s+(\S+)(?:\s+(.*))?$/.exec(rest) ?? [];
  if (code === undefined) return { message: `the comment says nothing that is known`, fix: `write ${FORM}` };
  const named = JSON.stringify(code.slice(0, 80));
  if (code.startsWith("E_")) return { message: `${named} is an error, which no comment accepts`, fix: "correct it" };
  if (!POLICY_WARNINGS.has(code)) {
    const known = [...POLICY_WARNINGS.keys()];
    const meant = didYouMean(code, known);
    const fix = meant === undefined ? `write one of ${known.join(", ")}` : `did you mean "${meant}"?`;
    return { message: `${named} is no warning that lint has`, fix };
  }
  if (why === "") return { message: `${named} is accepted without a reason`, fix: `say why behind it: ${FORM}` };
  return { code, why };
}
