import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** The fields of an audit record that tests read; see docs/audit.md. */
export interface AuditRecord {
  readonly seq: number;
  readonly phase: string;
  readonly kind: string;
  readonly id: string;
  readonly path?: string;
  readonly status?: number;
  readonly decision?: string;
  readonly reason?: string;
  readonly rule?: string;
  readonly close?: string;
  readonly grpc?: { readonly service?: string; readonly method?: string; readonly status?: number };
}

const DEADLINE_MS = 5000;

/** Every line of an audit file. Throws on a line that is no JSON. */
export function auditRecords(file: string): AuditRecord[] {
  const lines = readFileSync(file, "utf8").split("\n");
  if (lines.pop() !== "") throw new Error(`${file} ends with a torn line`);
  return lines.map((line) => JSON.parse(line) as AuditRecord);
}

/** The final records of HTTP calls. */
export function finalRecords(file: string): AuditRecord[] {
  return auditRecords(file).filter(({ phase, kind }) => phase === "end" && kind === "request");
}

/** Waits until the file of a running sidecar has a record that fits. Nothing tells when the kernel got it, so this looks again and again. */
export async function auditRecord(file: string, fits: (record: AuditRecord) => boolean): Promise<AuditRecord> {
  for (const end = performance.now() + DEADLINE_MS; performance.now() < end; ) {
    // the last line may be half written, and another one may be what a crash left
    const found = readFileSync(file, "utf8").split("\n").flatMap(parseLine).find(fits);
    if (found !== undefined) return found;
    // oxlint-disable-next-line no-await-in-loop -- one look after the other
    await delay(20);
  }
  throw new Error(`no such record in ${file} within ${DEADLINE_MS} ms:\n${readFileSync(file, "utf8")}`);
}

function parseLine(line: string): AuditRecord[] {
  try {
    return [JSON.parse(line) as AuditRecord];
  } catch {
    return [];
  }
}
