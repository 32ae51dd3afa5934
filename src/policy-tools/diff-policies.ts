import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { RuleId } from "../core/decision.ts";
import { type AskContext, askPolicy, type PolicyAnswer } from "./ask-policy.ts";
import type { AskedCall } from "./asked-call.ts";
import { pathShape } from "./path-shape.ts";

/** One side of a comparison. */
export interface DiffSide {
  readonly policy: CompiledPolicy;
  readonly ask: AskContext;
}

export type Change = "allow → deny" | "deny → allow" | "other rule";

/** Calls that change in the same way. */
export interface ChangedCalls {
  readonly change: Change;
  /** Of the caller, or of the one called; undefined without identity. */
  readonly principal: string | undefined;
  /** `GET /orders/{*}` or TCP. */
  readonly what: string;
  readonly calls: number;
  readonly before: PolicyAnswer;
  readonly after: PolicyAnswer;
  readonly example: AskedCall;
  /** Of the record, if it came from one. */
  readonly exampleId: string | undefined;
}

export interface PolicyDiff {
  readonly calls: number;
  /** How many change their verdict. */
  readonly changed: number;
  /** How many keep it and are decided by another rule. */
  readonly otherRule: number;
  /** The most frequent first. */
  readonly groups: readonly ChangedCalls[];
  /** Calls that change and stand in no group, as there are too many. */
  readonly ungrouped: number;
  /** How many the first side decides otherwise than was recorded: what they had is not in the record, or other policies were in force. */
  readonly unlikeRecord: number;
}

/** By which rules the sides end a call differently. */
export interface ShownChange {
  readonly before: RuleId | undefined;
  readonly after: RuleId | undefined;
}

export interface DiffCollector {
  /** What the call shows; undefined: both sides end it in the same way. */
  add(
    call: AskedCall,
    recorded?: { readonly id: string; readonly decision: "allow" | "deny" },
  ): ShownChange | undefined;
  result(): PolicyDiff;
}

/** Groups that are kept; what comes after them is only counted. */
const MAX_GROUPS = 5000;

/** Asks both sides about each call and keeps what changes, grouped: memory does not grow with the number of calls. */
export function createPolicyDiff(before: DiffSide, after: DiffSide): DiffCollector {
  const groups = new Map<string, { -readonly [K in keyof ChangedCalls]: ChangedCalls[K] }>();
  let calls = 0;
  let changed = 0;
  let otherRule = 0;
  let ungrouped = 0;
  let unlikeRecord = 0;
  return {
    add(call, recorded) {
      calls++;
      const was = askPolicy(before.policy, call, before.ask);
      const is = askPolicy(after.policy, call, after.ask);
      if (recorded !== undefined && recorded.decision !== was.decision) unlikeRecord++;
      const change = changeOf(was, is);
      if (change === undefined) return undefined;
      if (change === "other rule") otherRule++;
      else changed++;
      const peer = call.direction === "inbound" ? call.source.spiffeId : call.destination.spiffeId;
      const principal = peer?.slice("spiffe://".length);
      const what = call.request === undefined ? "TCP" : `${call.request.method} ${pathShape(call.request.path)}`;
      const key = [change, principal, what, was.rule, was.reason, is.rule, is.reason].join("\n");
      const known = groups.get(key);
      if (known !== undefined) known.calls++;
      else if (groups.size >= MAX_GROUPS) ungrouped++;
      else {
        const about = { change, principal, what, before: was, after: is };
        groups.set(key, { ...about, calls: 1, example: call, exampleId: recorded?.id });
      }
      return { before: was.rule, after: is.rule };
    },
    result: () => ({
      calls,
      changed,
      otherRule,
      groups: [...groups.values()].toSorted((a, b) => rank(a.change) - rank(b.change) || b.calls - a.calls),
      ungrouped,
      unlikeRecord,
    }),
  };
}

function changeOf(before: PolicyAnswer, after: PolicyAnswer): Change | undefined {
  if (before.decision !== after.decision) return before.decision === "allow" ? "allow → deny" : "deny → allow";
  // Also who is asked, what marks the record and what a dry run says.
  const says = ({ rules, providers, dryRun }: PolicyAnswer) =>
    JSON.stringify([rules, providers.map(({ provider }) => provider), dryRun?.verdict ?? null]);
  const same = before.reason === after.reason && says(before) === says(after);
  return same ? undefined : "other rule";
}

/** What opens comes first. */
function rank(change: Change): number {
  return ["deny → allow", "allow → deny", "other rule"].indexOf(change);
}
