import type { ConnectionContext } from "../core/call-outcome.ts";
import type { CountersignError } from "../core/errors.ts";
import { finishOutcome, newOutcome } from "./call-outcomes.ts";
import { monotonicMs } from "./monotonic.ts";
import type { Runtime } from "./runtime.ts";

/** Records a connection that was refused before it carried a call. `id`: the decision id that the caller was told; returned, made here if
 *  it is not given. `asked`: what is known of the call that it would have carried. */
export function recordRefusal(
  runtime: Runtime,
  context: ConnectionContext,
  error: CountersignError,
  startedMs: number,
  id?: string,
  asked?: { readonly method: string | undefined; readonly authority: string },
): string {
  const outcome = newOutcome(context, "refusal", "unknown", startedMs);
  if (id !== undefined) outcome.id = id;
  outcome.method = asked?.method;
  outcome.authority = asked?.authority;
  outcome.decision = "deny";
  outcome.reason = error.code;
  outcome.detail = error.message;
  outcome.close = "refused";
  const { id: recorded } = outcome;
  finishOutcome(sinksOf(runtime), outcome, undefined);
  return recorded;
}

/** The runtime seen as the place where outcomes end. */
export function sinksOf(runtime: Runtime): Parameters<typeof finishOutcome>[0] {
  return {
    audit: runtime.audit,
    recordCall: (outcome) => runtime.recorder.recordCall(outcome),
    nowMs: () => monotonicMs(),
  };
}
