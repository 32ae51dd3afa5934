import type { ErrorCode } from "./error-codes.ts";

/** Where in a file an error stands. Lines and columns count from 1. */
export interface SourcePosition {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
}

export interface CountersignErrorDetails {
  readonly at?: SourcePosition | undefined;
  /** What to do about it, as an imperative sentence. Defaults to the catalogue's fix. */
  readonly fix?: string | undefined;
  readonly cause?: unknown;
}

/** The one error type for bad input from a wire or a file: a stable code, the place, and the fix.
 *  Programmer misuse is a TypeError instead. The message never holds a secret. */
export class CountersignError extends Error {
  readonly code: ErrorCode;
  readonly at: SourcePosition | undefined;
  readonly fix: string | undefined;

  constructor(code: ErrorCode, message: string, details: CountersignErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "CountersignError";
    this.code = code;
    this.at = details.at;
    this.fix = details.fix;
  }
}

/** Several errors of one file set, reported at once (configuration, policies). Never empty. */
export class CountersignErrors extends Error {
  readonly errors: readonly CountersignError[];

  constructor(errors: readonly CountersignError[]) {
    if (errors.length === 0) throw new TypeError("CountersignErrors needs at least one error");
    super(errors.map(formatError).join("\n"));
    this.name = "CountersignErrors";
    this.errors = errors;
  }
}

/** A finding that does not stop the load: same shape as an error, with a `W_` code. */
export interface Warning {
  readonly code: `W_${string}`;
  readonly message: string;
  readonly at?: SourcePosition | undefined;
  readonly fix?: string | undefined;
}

/** One line for people: `file:line:column: CODE message; fix: …`. */
export function formatError(error: CountersignError | Warning): string {
  const { at, fix } = error;
  let place = "";
  if (at !== undefined) {
    place = at.file;
    if (at.line !== undefined) place += `:${at.line}`;
    if (at.line !== undefined && at.column !== undefined) place += `:${at.column}`;
    place += ": ";
  }
  return `${place}${error.code} ${error.message}${fix === undefined ? "" : `; fix: ${fix}`}`;
}

/** Wraps an unknown throw once, at the edge. */
export function asCountersignError(error: unknown, code: ErrorCode, message: string): CountersignError {
  return error instanceof CountersignError ? error : new CountersignError(code, message, { cause: error });
}
