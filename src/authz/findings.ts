import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError, CountersignErrors, type SourcePosition, type Warning } from "../core/errors.ts";
import type { PolicyMode } from "./policy-options.ts";

/** Collects what is wrong with a set of policies, so that a person sees all of it at once. */
export interface Findings {
  readonly warnings: readonly Warning[];
  error(code: ErrorCode, at: SourcePosition, message: string, fix: string): void;
  warn(code: `W_POLICY_${string}`, at: SourcePosition, message: string, fix: string): void;
  /** Something that Istio accepts although it can never match: an error in strict mode, a warning in istio mode. */
  neverMatches(code: ErrorCode, at: SourcePosition, message: string, fix: string): void;
  /** The result forgets all that is found from now on. */
  mark(): () => void;
  /** Throws CountersignErrors, in the order of the files' lines, when there was any error. */
  throwIfAny(): void;
}

export function collectFindings(mode: PolicyMode): Findings {
  const errors: CountersignError[] = [];
  const warnings: Warning[] = [];
  const files = new Map<string, number>();
  const seen = (at: SourcePosition) => {
    if (!files.has(at.file)) files.set(at.file, files.size);
    return at;
  };
  const findings: Findings = {
    warnings,
    error: (code, at, message, fix) => {
      errors.push(new CountersignError(code, message, { at: seen(at), fix }));
    },
    warn: (code, at, message, fix) => {
      warnings.push({ code, message, at, fix });
    },
    neverMatches: (code, at, message, fix) => {
      if (mode === "strict") findings.error(code, at, message, fix);
      else findings.warn("W_POLICY_NEVER_MATCHES", at, `${message}, so it can never match`, fix);
    },
    mark: () => {
      const [errorCount, warningCount] = [errors.length, warnings.length];
      return () => {
        errors.length = errorCount;
        warnings.length = warningCount;
      };
    },
    throwIfAny: () => {
      if (errors.length === 0) return;
      const place = ({ at }: CountersignError) => [files.get(at?.file ?? "") ?? 0, at?.line ?? 0, at?.column ?? 0];
      throw new CountersignErrors(
        errors.toSorted((a, b) => {
          const [left, right] = [place(a), place(b)];
          return left.map((part, i) => part - (right[i] ?? 0)).find((difference) => difference !== 0) ?? 0;
        }),
      );
    },
  };
  return findings;
}
