import { createLineReader, type LineReader } from "../audit/line-reader.ts";
import { errorCodes } from "../core/error-codes.ts";
import { CountersignError, formatError } from "../core/errors.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import { type AuditFilter, compileAuditFilter } from "./audit-filter.ts";
import { type AuditRecord, formatRecordLine, parseRecordLine } from "./audit-lines.ts";
import type { CliIo } from "./cli-io.ts";

const POLL_MS = 200;
const SHOWN_BAD = 100;

export interface TailOptions {
  /** How many of the newest records that the filter lets through. */
  readonly count: number;
  readonly follow: boolean;
  readonly json: boolean;
  readonly filter: AuditFilter;
}

/** Prints the newest records of the files in order of time, then, if asked, new ones as they come until the signal. A line that is
 *  no record is reported on stderr and counted. 0: fine; 1: a file can't be read, or some lines were no records. */
export async function tailAudit(files: readonly string[], options: TailOptions, io: CliIo): Promise<number> {
  const accepts = compileAuditFilter(options.filter);
  let bad = 0;

  function reportBad(file: string, line: string): void {
    bad++;
    const start = `${printable(line.slice(0, SHOWN_BAD))}${line.length > SHOWN_BAD ? "…" : ""}`;
    io.err(`${printable(file)}: not an audit record: ${start}\n`);
  }
  function show(record: AuditRecord): void {
    io.out(`${options.json ? asciiJson(JSON.stringify(record)) : formatRecordLine(record, io.colour)}\n`);
  }
  function examine(file: string, line: string): AuditRecord | undefined {
    if (line === "") return undefined;
    const record = parseRecordLine(line);
    if (record === undefined) reportBad(file, line);
    return record !== undefined && (accepts === undefined || accepts(record)) ? record : undefined;
  }

  const readers = files.map((file) => ({ file, reader: createLineReader(file), waits: false }));
  let unreadable = false;
  /** False when the file isn't there and nobody waits for it. */
  async function read(one: (typeof readers)[number], onLine: (line: string) => void): Promise<void> {
    try {
      await one.reader.read(onLine);
      one.waits = false;
    } catch (error) {
      if (one.waits) return;
      const cause = error instanceof Error ? error.message : String(error);
      const fix = errorCodes.E_AUDIT_FILE.fix;
      io.err(`${formatError(new CountersignError("E_AUDIT_FILE", printable(cause), { fix }))}\n`);
      one.waits = options.follow;
      unreadable ||= !options.follow;
    }
  }

  try {
    const newest: AuditRecord[] = [];
    for (const one of readers) newest.push(...(await lastOf(one.reader, (onLine) => read(one, onLine), one.file)));
    if (readers.length > 1) newest.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
    for (const found of newest.slice(newest.length - Math.min(options.count, newest.length))) show(found);
    while (options.follow && !io.signal.aborted) {
      await pause(io.signal);
      for (const one of readers)
        await read(one, (line) => {
          const found = examine(one.file, line);
          if (found !== undefined) show(found);
        });
    }
  } finally {
    await Promise.all(readers.map(({ reader }) => reader.close()));
  }
  if (bad > 0) io.err(`${bad} ${bad === 1 ? "line was" : "lines were"} no audit record\n`);
  return unreadable || bad > 0 ? 1 : 0;

  /** The newest records of one file, oldest first, in memory bounded by their number. */
  async function lastOf(
    reader: LineReader,
    readLines: (onLine: (line: string) => void) => Promise<void>,
    file: string,
  ): Promise<AuditRecord[]> {
    let kept: AuditRecord[] = [];
    const keep = (line: string): void => {
      const found = examine(file, line);
      if (found === undefined) return;
      kept.push(found);
      if (kept.length >= 2 * options.count + 1000) kept = kept.slice(kept.length - options.count);
    };
    await readLines(keep);
    // A last line that is still being written belongs to the next look; without one it is what it is.
    if (!options.follow) keep(reader.takeRest());
    return kept;
  }
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, POLL_MS);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
