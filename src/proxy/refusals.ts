import type { ConnectionContext } from "../core/call-outcome.ts";
import type { CountersignError } from "../core/errors.ts";
import { finishOutcome, newOutcome } from "./call-outcomes.ts";
import { monotonicMs } from "./monotonic.ts";
import type { Runtime } from "./runtime.ts";

/** Records a connection that was refused before it carried a call. `id`: the decision id that the caller was told. */
export function recordRefusal(
  runtime: Runtime,
  context: ConnectionContext,
  error: CountersignError,
  startedMs: number,
  id?: string,
): void {
  const outcome = newOutcome(context, "refusal", "unknown", startedMs);
  if (id !== undefined) outcome.id = id;
  outcome.decision = "deny";
  outcome.reason = error.code;
  outcome.detail = error.message;
  outcome.close = "refused";
  finishOutcome(sinksOf(runtime), outcome, undefined);
}

/** The runtime seen as the place where outcomes end. */
export function sinksOf(runtime: Runtime): Parameters<typeof finishOutcome>[0] {
  return {
    audit: runtime.audit,
    recordCall: (outcome) => runtime.recorder.recordCall(outcome),
    nowMs: () => monotonicMs(),
  };
}
