import type { CallFacts, RequestFacts } from "../core/call-facts.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { Decision, Permit } from "../core/decision.ts";
import type { CountersignError } from "../core/errors.ts";
import type { OutcomeSinks } from "./call-outcomes.ts";
import type { OutgoingRequest } from "./http-streams.ts";
import type { HeadLines } from "./http1/head-lines.ts";
import type { Fields, RequestHead, ResponseHead } from "./http1/http1-events.ts";
import type { ScannedFields } from "./request-fields.ts";
import type { HttpPool } from "./upstream/http-pool.ts";

/** A request as policy sees it, with what its forwarding needs. Of one call alone: the streams of a connection wait at different times. */
export interface PreparedCall extends CallFacts {
  readonly request: RequestFacts;
  readonly scanned: ScannedFields;
  /** Path and query as they go to the upstream. */
  readonly target: string;
}

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
  prepare(head: RequestHead, outcome: CallOutcome): PreparedCall | CountersignError;
  decide(facts: CallFacts): Decision;
  outgoing(head: RequestHead, call: PreparedCall, outcome: CallOutcome): OutgoingRequest;
  /** Taking a Permit is what keeps a call without one from ever reaching an upstream. */
  upstream(permit: Permit, facts: CallFacts | undefined): Pick<HttpPool, "acquire">;
  responseLines(head: ResponseHead, outcome: CallOutcome, final: boolean): HeadLines;
  requestTrailers(trailers: Fields): Fields | undefined;
  responseTrailers(trailers: Fields): Fields | undefined;
  /** How much of a refusal's reason this caller may read. */
  answerDetail(detail: string): string;
  /** A call that will be open for long: its start is audited. */
  onLongCall(outcome: CallOutcome): void;
}
