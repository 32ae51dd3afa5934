import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Command } from "commander";
import { loadPolicies } from "../authz/load-policies.ts";
import "../authz/use-cel.ts";
import { keptPolicyFiles } from "../config/kept-policies.ts";
import { loadSidecarConfig } from "../config/load-sidecar-config.ts";
import { type PolicyPart, policyPartOfBroken } from "../config/policy-part.ts";
import { readPolicyFiles } from "../config/policy-source.ts";
import { type CountersignError, CountersignErrors, type Warning } from "../core/errors.ts";
import { fileWarnings } from "./check-files.ts";
import type { CliIo } from "./cli-io.ts";
import { type Findings, fileNamer, findingsAsJson, findingsAsText } from "./findings-report.ts";
import { parseCommand } from "./parse-command.ts";
import { policyOptionsOf } from "./policy-options.ts";

interface CheckArguments {
  readonly config: string;
  readonly json?: true;
}

/** `countersign check`: all that is wrong with a configuration and its policies, at once. 0: nothing, or only warnings;
 *  2: errors, or wrong usage. Touches neither network nor agent. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const program = new Command("countersign check")
    .description("all errors of a configuration and its policies, each with its place and the fix")
    .requiredOption("-c, --config <file>", "countersign.yaml")
    .option("--json", "as JSON")
    .action(async ({ config, json }: CheckArguments) => {
      const findings = await check(resolve(io.cwd, config), io.env);
      const nameFile = fileNamer(config, io.cwd);
      io.out(json === true ? findingsAsJson(findings, nameFile) : findingsAsText(findings, nameFile, io.colour));
      exitCode = findings.errors.length > 0 ? 2 : 0;
    });
  return parseCommand(program, argv, io, () => exitCode);
}

async function check(file: string, environment: CliIo["env"]): Promise<Findings> {
  const errors: CountersignError[] = [];
  const warnings: Warning[] = [];
  const loaded = await collect(errors, () => loadSidecarConfig(file, environment));
  if (loaded !== undefined) {
    warnings.push(...loaded.warnings, ...fileWarnings(loaded.config, loaded.text));
    warnings.push(...(await checkPolicies(loaded.config, errors)));
    return { errors, warnings };
  }
  const part = policyPartOfBroken(await readFile(file, "utf8").catch(() => ""), file, environment);
  // Warnings would judge the policies by a configuration that nobody wrote.
  if (part !== undefined) await checkPolicies(part, errors);
  return { errors, warnings };
}

/** Adds the errors of the policies and returns their warnings. */
async function checkPolicies(config: PolicyPart, errors: CountersignError[]): Promise<readonly Warning[]> {
  const named = await collect(errors, () => readPolicyFiles(config.policies));
  if (named === undefined) return [];
  const kept = await keptPolicyFiles(config.policyUrls);
  const files = [...named, ...kept.files];
  const loaded = await collect(errors, () => loadPolicies(files, policyOptionsOf(config, undefined)));
  if (loaded === undefined) return [];
  const unseen = kept.missing.map(
    ({ url, at }): Warning => ({
      code: "W_CONFIG_POLICY_URL",
      message: `the policies at ${url} are not checked: nothing is fetched here, and nothing is kept yet`,
      at,
      fix: "check them where they are written, by `countersign policy lint`",
    }),
  );
  const [first] = config.policies;
  if (files.length > 0 || first === undefined) return [...loaded.warnings, ...unseen];
  const message = "there is no policy file at any of the paths given";
  return [
    { code: "W_CONFIG_NO_POLICIES", message, at: first.at, fix: "put *.yaml files there" },
    ...loaded.warnings,
    ...unseen,
  ];
}

/** The result, or undefined after taking over what is wrong. */
async function collect<T>(errors: CountersignError[], load: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await load();
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    errors.push(...error.errors);
    return undefined;
  }
}
