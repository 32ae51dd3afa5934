import { type DestinationStream, destination, type Logger, type LoggerOptions, pino, stdTimeFunctions } from "pino";
import { CountersignError, CountersignErrors, formatError } from "../core/errors.ts";
import { asciiJson } from "../core/safe-text.ts";

const STDERR = 2;

/** Members that must never be printed, whoever puts them into a log call. */
const secretNames = [
  "key",
  "privateKey",
  "keyPem",
  "token",
  "password",
  "secret",
  "authorization",
  "cookie",
  "headers",
];

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

/** The operational log: JSON lines on stderr, fields first, `event` names what others may wait for. Secrets are redacted by
 *  name, errors carry their code and fix, and the lines are printable ASCII, so that no text from a peer reaches a terminal as
 *  control. Writes are synchronous: the last line before a crash is the one that matters. */
export function createLogger(
  level: LogLevel,
  target: DestinationStream = destination({ dest: STDERR, sync: true }),
): Logger {
  const options: LoggerOptions = {
    level,
    base: { pid: process.pid },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: secretNames.flatMap((name) => [name, `*.${name}`]), censor: "[redacted]" },
    serializers: { err: describeError, error: describeError },
  };
  return pino(options, { write: (line) => target.write(asciiJson(line)) });
}

/** What a log line says of an error. A stack only for what is no CountersignError: that is a mistake of ours. */
function describeError(error: unknown): unknown {
  if (error instanceof CountersignErrors) return { errors: error.errors.map(formatError) };
  if (error instanceof CountersignError) {
    const { code, message, at, fix, cause } = error;
    return { code, message, at, fix, cause: cause instanceof Error ? cause.message : undefined };
  }
  if (!(error instanceof Error)) return error;
  const code = "code" in error ? error.code : undefined;
  return { code, message: error.message, stack: code === undefined ? error.stack : undefined };
}
