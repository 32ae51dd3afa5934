import type { Logger } from "pino";
import { type CountersignErrors, formatError, type Warning } from "../core/errors.ts";

/** A generated set of policies may be wrong in each of its rules, and is read again at each reload. */
const MAX_SAID = 100;

/** A line for each warning of policies; beyond 100 one line says how many more there are. */
export function logPolicyWarnings(log: Pick<Logger, "warn">, warnings: readonly Warning[]): void {
  for (const warning of warnings.slice(0, MAX_SAID))
    log.warn({ event: "policy.warning", code: warning.code }, formatError(warning));
  const more = warnings.length - MAX_SAID;
  if (more > 0)
    log.warn({ event: "policy.warning", more }, `${more} more warnings: countersign policy lint names all of them`);
}

/** The errors as a field of one line: 100 of them, and how many more there are. */
export function loggedErrors({ errors }: CountersignErrors): readonly string[] {
  const more = errors.length - MAX_SAID;
  const said = errors.slice(0, MAX_SAID).map(formatError);
  return more > 0 ? [...said, `${more} more errors: countersign check names all of them`] : said;
}
