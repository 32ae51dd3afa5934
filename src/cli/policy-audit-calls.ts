import { fileProblem } from "../config/read-text-file.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { CountersignError } from "../core/errors.ts";
import { type AuditedCall, auditedCall } from "../policy-tools/audited-call.ts";
import { type AuditRecord, parseRecordLine } from "./audit-lines.ts";
import type { CliIo } from "./cli-io.ts";
import { inputOf, type LineInput, nameOfInput, readInputLines } from "./input-lines.ts";

/** The files named (`-` is the standard input), else those that the configuration writes. Throws CountersignError E_AUDIT_FILE when there are none. */
export function auditFilesOf(named: readonly string[], config: SidecarConfig, cwd: string): readonly string[] {
  if (named.length > 0) return [...new Set(named.map((file) => inputOf(file, cwd)))];
  const files = config.audit.sinks.flatMap((sink) => (sink.kind === "file" ? [sink.path] : []));
  if (files.length > 0) return files;
  const fix = "name an audit file";
  throw new CountersignError("E_AUDIT_FILE", "the configuration writes no audit file", {
    at: { file: config.file },
    fix,
  });
}

/** How much of audit files was of use. */
export interface AuditRead {
  /** Lines that are no record: torn by a crash, or foreign. */
  readonly badLines: number;
}

/** Hands out the calls of audit files that policy has decided about, file after file, one at a time: memory does not grow with the files. All other
 *  records go to `onOther`. Throws CountersignError E_AUDIT_FILE for a file that cannot be read. */
export async function readAuditedCalls(
  files: readonly LineInput[],
  io: Pick<CliIo, "stdin">,
  onCall: (call: AuditedCall) => void,
  onOther: (record: AuditRecord) => void = () => undefined,
): Promise<AuditRead> {
  let badLines = 0;
  for (const file of files) {
    const take = (line: string): void => {
      if (line === "") return;
      const record = parseRecordLine(line);
      if (record === undefined) {
        badLines++;
        return;
      }
      const call = auditedCall(record);
      if (call === undefined) onOther(record);
      else onCall(call);
    };
    try {
      // one file after the other: their order is that of the calls
      // oxlint-disable-next-line no-await-in-loop
      await readInputLines(file, io, take);
    } catch (error) {
      throw new CountersignError("E_AUDIT_FILE", fileProblem(error), { at: { file: nameOfInput(file) }, cause: error });
    }
  }
  return { badLines };
}
