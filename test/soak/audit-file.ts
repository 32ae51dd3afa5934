import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

/** The fields of a final record that the checks read. */
export interface AuditRecord {
  readonly phase: string;
  readonly kind: string;
  /** RFC 3339, when the call ended. */
  readonly time?: string;
  readonly duration_ms?: number;
  readonly path?: string;
  readonly status?: number;
  readonly decision?: string;
  readonly retries?: number;
  readonly source?: { readonly svid?: { readonly serial?: string } };
  readonly bytes?: { readonly in?: number; readonly out?: number };
}

export interface AuditFile {
  /** Final records of calls (`phase: end`, `kind: request`), in the order of the file. */
  readonly calls: readonly AuditRecord[];
  /** Final records of TCP connections (`kind: connection`). */
  readonly connections: readonly AuditRecord[];
  /** Lines that are no JSON object: what a crash tore apart. */
  readonly tornLines: number;
}

export async function readAuditFile(path: string): Promise<AuditFile> {
  const calls: AuditRecord[] = [];
  const connections: AuditRecord[] = [];
  let tornLines = 0;
  for await (const line of createInterface({ input: createReadStream(path) })) {
    if (line === "") continue;
    const record = parseRecord(line);
    if (record === undefined) tornLines++;
    else if (record.phase === "end" && record.kind === "request") calls.push(record);
    else if (record.phase === "end" && record.kind === "connection") connections.push(record);
  }
  return { calls, connections, tornLines };
}

function parseRecord(line: string): AuditRecord | undefined {
  try {
    return JSON.parse(line) as AuditRecord;
  } catch {
    return undefined;
  }
}

/** How often each path stands in the records. */
export function countByPath(records: readonly AuditRecord[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { path = "" } of records) counts.set(path, (counts.get(path) ?? 0) + 1);
  return counts;
}
