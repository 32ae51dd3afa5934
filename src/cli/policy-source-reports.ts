import type { RunningAuditLog } from "../audit/audit-log.ts";
import type { PolicySourceState } from "../config/policy-set-source.ts";
import { type CountersignError, formatError } from "../core/errors.ts";
import type { createLogger } from "../telemetry/logger.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

export interface PolicySourceReports {
  /** Says once what is wrong with a source, and with what is kept of it, and once that a source is well again. */
  report(states: readonly PolicySourceState[]): void;
}

export function createPolicySourceReports(
  log: ReturnType<typeof createLogger>,
  telemetry: Telemetry,
  audit: Pick<RunningAuditLog, "event">,
): PolicySourceReports {
  /** By source: the problem that was last spoken of. */
  const failures = new Map<string, string>();
  const notKept = new Map<string, string>();
  const record = (reason: string, name: string, problem: CountersignError): void =>
    audit.event({ kind: "policy", reason, detail: `${name}: ${formatError(problem)}` });
  return {
    report(states) {
      const names = new Set(states.map(({ name }) => name));
      for (const spoken of [failures, notKept])
        for (const name of spoken.keys()) if (!names.has(name)) spoken.delete(name);
      for (const { name, problem, keepProblem } of states) {
        if (isNews(notKept, name, keepProblem) && keepProblem !== undefined) {
          log.warn({ event: "policy.not-kept", source: name, code: keepProblem.code }, formatError(keepProblem));
          record("policy.not-kept", name, keepProblem);
        }
        if (!isNews(failures, name, problem)) continue;
        if (problem === undefined) {
          log.info({ event: "policy.source-restored", source: name }, "the source of policies answers again");
          continue;
        }
        telemetry.reloadFailed("policy");
        log.warn({ event: "policy.source-failed", source: name, code: problem.code }, formatError(problem));
        record("policy.source-failed", name, problem);
      }
    },
  };
}

/** Whether a problem is another one than was last spoken of, which it is from now on. */
function isNews(spoken: Map<string, string>, name: string, problem: CountersignError | undefined): boolean {
  if (spoken.get(name) === problem?.message) return false;
  if (problem === undefined) spoken.delete(name);
  else spoken.set(name, problem.message);
  return true;
}
