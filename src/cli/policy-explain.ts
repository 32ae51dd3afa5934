import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import { type AskContext, askPolicy } from "../policy-tools/ask-policy.ts";
import type { AuditedCall } from "../policy-tools/audited-call.ts";
import { type ExplainedCall, explainCall } from "../policy-tools/explain-call.ts";
import { type AuditRecord, member } from "./audit-lines.ts";
import type { CliIo } from "./cli-io.ts";
import { fileNamer } from "./findings-report.ts";
import { auditFilesOf, readAuditedCalls } from "./policy-audit-calls.ts";
import { loadPolicyContext, type PolicyContext } from "./policy-context.ts";
import { callOf, type ExplainArguments, refuseMixed, usage } from "./policy-explain-flags.ts";
import { explainedJson, explainedText } from "./policy-explain-view.ts";
import { readRequestLines } from "./policy-request-lines.ts";

/** Sets with more rules than this have no trace in the answers to a file of requests, unless it is asked for. */
const MAX_TRACED_RULES = 1000;
/** Rules that people are shown of each step. */
const SHOWN_RULES = 8;

/** Says what a sidecar would decide about a call, and why. 0: allowed, or a file was answered; 1: denied. */
export async function explain(asked: ExplainArguments, io: CliIo): Promise<number> {
  refuseMixed(asked);
  const context = await loadPolicyContext(asked, io);
  if (asked.requests !== undefined) return explainFile(asked.requests, context, asked, io);
  const record = asked.id === undefined ? undefined : await recordedCall(asked.id, asked.audit ?? [], context, io);
  if (record !== undefined && "other" in record) return explainOther(record.other, asked, io);
  const call = record?.decided.call ?? callOf(asked);
  const explained = explainCall(context.policy, call, context.ask);
  if (asked.json === true) io.out(explainedJson(explained));
  else {
    if (record !== undefined) io.out(recordedText(record.decided, context.policy));
    const room = asked.all === true ? Number.POSITIVE_INFINITY : SHOWN_RULES;
    const options = { room, nameFile: fileNamer(asked.config, io.cwd), colour: io.colour };
    io.out(explainedText(call, explained, options));
  }
  return explained.answer.decision === "allow" ? 0 : 1;
}

/** A call that policy was not asked about: refused before, or not ended yet. */
function explainOther(record: AuditRecord, { json }: ExplainArguments, io: CliIo): number {
  const decision = member(record, "decision") ?? record.kind;
  const reason = member(record, "reason") ?? "";
  const detail = member(record, "detail") ?? "";
  if (json === true) {
    const document = { decision: "deny", rule: null, reason, nearest: null, trace: null, detail };
    io.out(`${asciiJson(JSON.stringify(document))}\n`);
  } else {
    const text = [`recorded ${record.time}: ${decision}`, reason, detail].filter((part) => part !== "").join(" ");
    io.out(`${printable(text)}\n\npolicy was not asked about this call\n`);
  }
  return 1;
}

/** One line for each line. A line names no transport, so it is a call that a listener has taken. */
async function explainFile(
  file: string,
  { policy, ask }: PolicyContext,
  { all, json }: ExplainArguments,
  io: CliIo,
): Promise<number> {
  const traced = json === true && (all === true || policy.ruleCount <= MAX_TRACED_RULES);
  const taken: AskContext = { ...ask, handshake: "noted" };
  await readRequestLines(file, io, (call) => {
    const explained: ExplainedCall = traced
      ? explainCall(policy, call, taken)
      : { answer: askPolicy(policy, call, taken), trace: undefined };
    if (json === true) io.out(explainedJson(explained));
    else {
      const { decision, rule, reason, detail, providers } = explained.answer;
      const before = decision === "allow" ? "if" : "after";
      const does = decision === "allow" ? "allows it" : "is asked";
      const asked = providers.map(({ provider }) => `; ${before} ${printable(provider)} ${does}`).join("");
      io.out(`${decision}  ${rule ?? reason}  ${printable(detail)}${asked}\n`);
    }
  });
  return 0;
}

/** The last decision with that id, or the record of a call that ended before policy was asked. */
async function recordedCall(
  id: string,
  named: readonly string[],
  { config }: PolicyContext,
  io: CliIo,
): Promise<{ readonly decided: AuditedCall } | { readonly other: AuditRecord }> {
  let found: AuditedCall | undefined;
  let other: AuditRecord | undefined;
  const files = auditFilesOf(named, config, io.cwd);
  await readAuditedCalls(
    files,
    io,
    (call) => {
      if (call.id === id) found = call;
    },
    (record) => {
      if (record["id"] === id) other = record;
    },
  );
  if (found !== undefined) return { decided: found };
  if (other !== undefined) return { other };
  throw usage(
    "no call with that id is in the audit log",
    "the log is that of the sidecar that decided; look with `countersign audit tail -n all`, or name rotated files with --audit",
  );
}

function recordedText({ time, decision, rule, reason, policyVersion }: AuditedCall, policy: CompiledPolicy): string {
  const same = policyVersion === policy.version ? "the same policies" : `now version ${policy.version}`;
  const by = rule ?? reason ?? "";
  return `recorded ${time}: ${decision} ${by}, policy version ${policyVersion}; ${same}\nasked again, of what the record holds (no headers):\n\n`;
}
