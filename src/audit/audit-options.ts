/** A file of JSON lines, opened for appending with mode 0600. */
export interface FileSinkOptions {
  readonly kind: "file";
  readonly path: string;
  /** `sizeBytes` and `ageMs`: 0 is "never". `keep`: how many rotated files (`path.1` is the newest) stay. */
  readonly rotate: { readonly sizeBytes: number; readonly ageMs: number; readonly keep: number };
  /** interval: once a second; never: the kernel decides. `always` is not supported yet. */
  readonly fsync: "always" | "interval" | "never";
}

export interface StdoutSinkOptions {
  readonly kind: "stdout";
}

/** What the audit log needs to know; the configuration's `audit` section has the same shape. */
export interface AuditOptions {
  readonly sinks: readonly (FileSinkOptions | StdoutSinkOptions)[];
  /** block: no free place or a broken sink refuses calls. drop: calls go on, what is missing is counted in a record. */
  readonly onFailure: "block" | "drop";
  /** Places in the calls' queue; a place is taken from `reserve` until every sink has the record. */
  readonly queue: number;
  /** Places in the refusals' own queue. */
  readonly refusalsQueue: number;
}

/** The operational log, as far as audit uses it. pino fits. */
export interface AuditLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
