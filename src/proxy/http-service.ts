import type { CallFacts } from "../core/call-facts.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { Decision, Permit } from "../core/decision.ts";
import type { CountersignError } from "../core/errors.ts";
import type { OutcomeSinks } from "./call-outcomes.ts";
import type { OutgoingRequest } from "./http-streams.ts";
import type { HeadLines } from "./http1/head-lines.ts";
import type { Fields, RequestHead, ResponseHead } from "./http1/http1-events.ts";
import type { HttpPool } from "./upstream/http-pool.ts";

/** What differs between inbound and outbound HTTP, seen from one downstream connection. */
export interface HttpService extends OutcomeSinks {
  /** Version of the policy in force now. */
  readonly policyVersion: string;
  /** The connection should not be kept: drain, an identity near its end, or its age. */
  readonly closing: boolean;
  firstByteDeadline(): number;
  /** The outcome of a call that starts on this connection at `nowMs`, monotonic. */
  newOutcome(head: RequestHead, nowMs: number): CallOutcome;
  /** Checks that come before policy, and the facts for it; or why the call is refused. */
  prepare(head: RequestHead, outcome: CallOutcome): CallFacts | CountersignError;
  decide(facts: CallFacts): Decision;
  outgoing(head: RequestHead, facts: CallFacts, outcome: CallOutcome): OutgoingRequest;
  /** Taking a Permit is what keeps a call without one from ever reaching an upstream. */
  upstream(permit: Permit, facts: CallFacts | undefined): HttpPool;
  responseLines(head: ResponseHead, outcome: CallOutcome, final: boolean): HeadLines;
  requestTrailers(trailers: Fields): Fields | undefined;
  responseTrailers(trailers: Fields): Fields | undefined;
  /** How much of a refusal's reason this caller may read. */
  answerDetail(detail: string): string;
  /** A call that will be open for long: its start is audited. */
  onLongCall(outcome: CallOutcome): void;
}
