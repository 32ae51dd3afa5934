import { readFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunningDemo } from "./demo.ts";

export interface DemoCall {
  readonly kind: "mesh" | "plaintext" | "download";
  readonly title: string;
  readonly method: string;
  readonly path: string;
  readonly to?: "orders" | "payments";
  readonly expect: {
    readonly status: number;
    readonly verdict: "allow" | "deny" | "error";
    readonly code?: string;
    readonly bytes?: number;
  };
}

export interface DemoResult {
  readonly call: DemoCall;
  readonly status: number;
  readonly asExpected: boolean;
  /** `who → whom`. */
  readonly parties: string;
  readonly rule: string | undefined;
  readonly reason: string;
}

interface Answer {
  readonly status: number;
  readonly code?: string;
  readonly id?: string;
  readonly bytes: number;
  readonly complete: boolean;
  readonly error?: string;
}

/** What the demo reads of an audit record. */
interface DemoRecord {
  readonly id: string;
  readonly decision: string;
  readonly reason?: string;
  readonly rule?: string;
  readonly detail?: string;
  readonly nearest?: {
    readonly rule: string;
    readonly field: string;
    readonly expected: string;
    readonly actual: string;
  };
}

const RECORD_WAIT_MS = 3000;
const SHORT = { web: "shop/web", orders: "shop/orders", payments: "shop/payments" };

/** Makes one call of the demo and compares its end, on the wire and in the audit log, with what should have come. */
export async function runDemoCall(demo: RunningDemo, call: DemoCall): Promise<DemoResult> {
  const rotationsBefore = demo.webSidecar.count("identity.rotated");
  const answer = call.kind === "plaintext" ? await plaintext(demo, call) : await throughWeb(demo, call);
  const rotations = demo.webSidecar.count("identity.rotated") - rotationsBefore;
  const record = await findRecord(demo, call, answer);
  const { expect } = call;
  const asExpected =
    answer.status === expect.status &&
    answer.complete &&
    (expect.code === undefined || answer.code === expect.code) &&
    (expect.bytes === undefined || answer.bytes === expect.bytes) &&
    (call.kind !== "download" || rotations > 0) &&
    record?.decision === expect.verdict;
  const to = call.to ?? "orders";
  const reason =
    call.kind === "download"
      ? `${answer.bytes} bytes unbroken over ${rotations} rotations`
      : explain(record) || answer.error || "no audit record";
  return {
    call,
    status: answer.status,
    asExpected,
    parties: `${call.kind === "plaintext" ? "(nobody)" : SHORT.web} → ${SHORT[to]}`,
    rule: record?.rule,
    reason,
  };
}

function explain(record: DemoRecord | undefined): string {
  if (record === undefined) return "";
  const { nearest } = record;
  if (nearest !== undefined)
    return `no rule allows it; nearest is ${nearest.rule}: ${nearest.field} wants ${nearest.expected}, got ${nearest.actual}`;
  return record.detail ?? (record.reason === "rule" ? "the rule allows it" : (record.reason ?? ""));
}

function throughWeb(demo: RunningDemo, call: DemoCall): Promise<Answer> {
  const port = demo.ports[call.to ?? "orders"];
  const query = new URLSearchParams({ port: String(port), method: call.method, path: call.path });
  return send(demo.webApp, "POST", `/call?${query.toString()}`).then(({ body }) => JSON.parse(body) as Answer);
}

async function plaintext(demo: RunningDemo, call: DemoCall): Promise<Answer> {
  const { status, code, body } = await send(demo.ordersMesh, call.method, call.path);
  return { status, ...(code === undefined ? {} : { code }), bytes: body.length, complete: true };
}

function send(
  port: number,
  method: string,
  path: string,
): Promise<{ readonly status: number; readonly code: string | undefined; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ host: "127.0.0.1", port, method, path, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("error", reject);
      response.on("end", () => {
        const code = response.headers["x-countersign-code"];
        resolve({ status: response.statusCode ?? 0, code: typeof code === "string" ? code : undefined, body });
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** The record of the side that decided: the one whose id the answer carries, or, without an id, the newest with that code. */
async function findRecord(demo: RunningDemo, call: DemoCall, answer: Answer): Promise<DemoRecord | undefined> {
  const deadline = performance.now() + RECORD_WAIT_MS;
  while (performance.now() < deadline) {
    for (const role of ["orders", "web"] as const) {
      const records = await readRecords(demo.folder.audit(role));
      const found =
        answer.id === undefined
          ? records.findLast((record) => record.reason === answer.code && call.kind === "plaintext")
          : records.find((record) => record.id === answer.id);
      if (found !== undefined) return found;
    }
    await sleep(50);
  }
  return undefined;
}

async function readRecords(path: string): Promise<DemoRecord[]> {
  const text = await readFile(path, "utf8");
  // the last line may be half written
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  return whole
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as DemoRecord);
}

/** One line for people: who → whom, what, verdict, rule, reason. */
export function describeResult(result: DemoResult, colour: boolean): string {
  const { call, parties, status, rule, reason, asExpected } = result;
  const mark = asExpected ? "✓" : "✗ NOT AS EXPECTED";
  const verdict = call.expect.verdict === "allow" ? "ALLOWED" : call.expect.verdict === "deny" ? "DENIED" : "FAILED";
  const painted = colour ? `\x1b[${call.expect.verdict === "allow" ? 32 : 31}m${verdict}\x1b[0m` : verdict;
  const what = `${call.method} ${call.path}`;
  return `${mark} ${call.title}\n    ${parties}  ${what}  ${painted} ${status}${rule === undefined ? "" : `  ${rule}`}\n    ${reason}\n`;
}
