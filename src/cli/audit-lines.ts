import { printable } from "../core/safe-text.ts";

/** One record of an audit file, as parsed. Members beyond these two are read with care: files come from anywhere. */
export interface AuditRecord {
  readonly time: string;
  readonly kind: string;
  readonly [member: string]: unknown;
}

/** A line of an audit file as a record, or undefined when it is none (torn by a crash, or foreign). */
export function parseRecordLine(line: string): AuditRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  return isRecord(value) ? value : undefined;
}

function isRecord(value: unknown): value is AuditRecord {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return "time" in value && typeof value.time === "string" && "kind" in value && typeof value.kind === "string";
}

/** The text or number at a path of members, e.g. `source.spiffe_id`; undefined when there is none. */
export function member(record: AuditRecord, path: string): string | undefined {
  let value: unknown = record;
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : undefined;
}

const red = 31;
const green = 32;
const yellow = 33;
const dim = 2;

/** One readable line without line feed: time (UTC), verdict, who → whom, what, status, rule, reason. Safe for a terminal
 *  whatever the record holds. */
export function formatRecordLine(record: AuditRecord, colour: boolean): string {
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const get = (path: string): string | undefined => {
    const text = member(record, path);
    return text === undefined ? undefined : printable(text);
  };
  const [verdict, code] = verdictOf(record);
  const parts = [`${paint(dim, timeOf(record))} ${paint(code, verdict.padEnd(6))}${get("direction")?.padEnd(9) ?? ""}`];
  const isEvent = get("protocol") === undefined;
  parts[0] += isEvent ? eventText(get) : `${whoOf(get, "source")} → ${whoOf(get, "destination")}`;
  if (!isEvent) parts.push(whatOf(get));
  const status = get("status");
  if (status !== undefined) parts.push(status);
  const duration = get("duration_ms");
  const isAllowed = record.decision === "allow" || record.decision === "would-deny";
  if (isAllowed && duration !== undefined) parts.push(`${duration} ms`);
  const rule = get("rule");
  if (rule !== undefined) parts.push(rule);
  const reason = get("reason");
  if (!isEvent && !isAllowed && reason !== undefined) parts.push(reason);
  const field = get("nearest.field");
  if (field !== undefined)
    parts.push(
      `nearest ${get("nearest.rule") ?? "?"} ${field}: wants ${get("nearest.expected") ?? "?"}, has ${get("nearest.actual") ?? "?"}`,
    );
  const detail = get("detail");
  if (detail !== undefined) parts.push(paint(dim, `(${detail})`));
  const phase = get("phase");
  if (phase === "start" || phase === "progress") parts.push(phase === "start" ? "begins" : "goes on");
  return parts.join("  ");
}

type Get = (path: string) => string | undefined;

function timeOf(record: AuditRecord): string {
  const clock = /^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d\.\d{3})\d*Z$/.exec(record.time)?.[1];
  return clock ?? printable(record.time);
}

function verdictOf(record: AuditRecord): [string, number] {
  const { decision } = record;
  if (decision === "allow") return ["ALLOW", green];
  if (decision === "would-deny") return ["WOULD", yellow];
  if (decision === "error") return ["ERROR", yellow];
  if (decision === "deny" || record.kind === "refusal") return ["DENY", red];
  return ["NOTE", dim];
}

function whoOf(get: Get, side: "source" | "destination"): string {
  const id = get(`${side}.spiffe_id`);
  if (id !== undefined) return withoutScheme(id);
  const address = get(`${side}.address`) ?? "unknown";
  const uid = get(`${side}.local.uid`);
  return uid === undefined ? `${address} (no identity)` : `${address} (uid ${uid})`;
}

/** A SPIFFE ID as policies write it. */
export function withoutScheme(id: string): string {
  return id.startsWith("spiffe://") ? id.slice("spiffe://".length) : id;
}

function whatOf(get: Get): string {
  const method = get("method");
  if (method !== undefined) return `${method} ${get("path") ?? get("authority") ?? ""}`;
  return `${get("protocol") ?? ""} ${get("bytes.in") ?? "0"} in, ${get("bytes.out") ?? "0"} out`;
}

/** Records that are no call: what happened, to whom, how often. */
function eventText(get: Get): string {
  const words = [get("listener") ?? "", get("reason") ?? get("kind") ?? ""];
  const count = get("count");
  if (count !== undefined) words.push(`× ${count}`);
  const id = get("source.spiffe_id");
  if (id !== undefined) words.push(withoutScheme(id), `serial ${get("source.svid.serial") ?? "?"}`);
  const version = get("policy.version");
  if (version !== undefined) words.push(`version ${version}`);
  return words.filter((word) => word !== "").join(" ");
}
