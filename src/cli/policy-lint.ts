import { loadPolicies } from "../authz/load-policies.ts";
import "../authz/use-cel.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import type { SourceFile } from "../config/policy-source.ts";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import { type AcceptedWarning, judgeWarnings } from "../policy-tools/accepted-warnings.ts";
import { fixFiles, type LintFindings } from "../policy-tools/fix-files.ts";
import { foreignNamespaces } from "../policy-tools/lint-namespaces.ts";
import { lintReach } from "../policy-tools/lint-reach.ts";
import { lintRules } from "../policy-tools/lint-rules.ts";
import type { CliIo } from "./cli-io.ts";
import { fileNamer } from "./findings-report.ts";
import { inputOf, isPipe } from "./input-lines.ts";
import { type LintNote, lintAsJson, lintAsText } from "./lint-report.ts";
import { loadPolicyFiles, loadPolicySettings } from "./policy-context.ts";
import { replaceFiles } from "./replace-files.ts";

export interface LintArguments {
  readonly config: string;
  readonly trustDomain?: string;
  readonly fix?: true;
  readonly json?: true;
}

interface Found extends LintFindings {
  readonly notes: readonly LintNote[];
  readonly accepted: readonly AcceptedWarning[];
}

/** Everything that is wrong with policies, or probably not meant. 1: a warning is left; 2: an error, so that no sidecar would load them. */
export async function lint(named: readonly string[], asked: LintArguments, io: CliIo): Promise<number> {
  if (asked.fix === true && (await Promise.all(named.map((name) => isPipe(inputOf(name, io.cwd))))).includes(true))
    throw new CountersignError("E_POLICY_REQUEST", "--fix changes files, and a pipe is none", {
      fix: "name the file, or leave out --fix",
    });
  const { config, options } = await loadPolicySettings(asked, io);
  const nameFile = fileNamer(asked.config, io.cwd);
  const files = await loadPolicyFiles(config, named, io);
  if (files.length === 0) {
    const at = named[0] === undefined ? (config.policies[0]?.at ?? { file: config.file }) : { file: named[0] };
    throw new CountersignError("E_POLICY_NO_DOCUMENTS", "there is no policy file to look at", { at });
  }
  const look = (some: readonly SourceFile[]) => lintFiles(some, options, nameFile);
  const { files: fixed, left, findings } = asked.fix === true ? fixFiles(files, options, look) : unfixed(look(files));
  try {
    await replaceFiles(fixed);
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    io.err(`${formatError(error)}\n`);
    return 1;
  }
  const report = { findings, fixed, left };
  io.out(asked.json === true ? lintAsJson(report, nameFile) : lintAsText(report, nameFile, io.colour));
  if (findings.errors.length > 0) return 2;
  return findings.warnings.length > 0 ? 1 : 0;
}

function unfixed(findings: Found): ReturnType<typeof fixFiles<Found>> {
  return { files: [], left: [], findings };
}

type FileNamer = ReturnType<typeof fileNamer>;

/** Errors of the loader, or else all warnings that no comment accepts. */
function lintFiles(files: readonly SourceFile[], options: PolicyOptions, nameFile: FileNamer): Found {
  try {
    const { warnings, documents } = loadPolicies(files, options);
    const more = [
      ...lintRules(documents.policies, options),
      ...lintReach(documents.policies, options, undefined, nameFile),
    ];
    // A load compares less, and names some of what it finds.
    const others = warnings.filter(({ code }) => code !== "W_POLICY_SHADOWED" && code !== "W_POLICY_LINT_LIMIT");
    const { warnings: left, accepted, idle } = judgeWarnings(files, [...others, ...more]);
    return { errors: [], warnings: left, accepted, notes: [...foreignNamespaces(documents, options), ...idle] };
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    return { errors: error.errors, warnings: [], accepted: [], notes: [] };
  }
}
