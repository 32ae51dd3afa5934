import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError, CountersignErrors, type SourcePosition, type Warning } from "../core/errors.ts";

/** The mark of a value that could not be read; what is wrong with it is in the Problems. */
export const invalid = Symbol("invalid");
export type Invalid = typeof invalid;

/** Collects everything that is wrong with a file, so that a person sees all of it at once. */
export interface Problems {
  readonly errors: readonly CountersignError[];
  readonly warnings: readonly Warning[];
  /** Returns `invalid`, so that a reader can report and give up in one statement. */
  error(code: ErrorCode, at: SourcePosition, message: string, fix?: string): Invalid;
  warn(code: `W_${string}`, at: SourcePosition, message: string, fix?: string): void;
  /** Reports E_CONFIG_DUPLICATE when `key` was claimed before for the same thing ("listener name"). */
  claim(thing: string, key: string, at: SourcePosition, fix: string): void;
  /** Throws CountersignErrors, in the file's order, when there is any error. */
  throwIfAny(): void;
}

export function collectProblems(): Problems {
  const errors: CountersignError[] = [];
  const warnings: Warning[] = [];
  const claims = new Map<string, SourcePosition>();
  return {
    errors,
    warnings,
    error(code, at, message, fix) {
      errors.push(new CountersignError(code, message, { at, fix }));
      return invalid;
    },
    warn(code, at, message, fix) {
      warnings.push({ code, message, at, fix });
    },
    claim(thing, key, at, fix) {
      const first = claims.get(`${thing} ${key}`);
      if (first === undefined) {
        claims.set(`${thing} ${key}`, at);
        return;
      }
      // The key is not shown: it may have come from the environment.
      const message = `the ${thing} is already used at line ${first.line ?? 1}`;
      errors.push(new CountersignError("E_CONFIG_DUPLICATE", message, { at, fix }));
    },
    throwIfAny() {
      if (errors.length === 0) return;
      throw new CountersignErrors(errors.toSorted((a, b) => comparePlaces(a.at, b.at)));
    },
  };
}

function comparePlaces(a: SourcePosition | undefined, b: SourcePosition | undefined): number {
  return (a?.line ?? 0) - (b?.line ?? 0) || (a?.column ?? 0) - (b?.column ?? 0);
}
