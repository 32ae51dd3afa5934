import type { CallFacts, RequestFacts } from "../core/call-facts.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { AskDecision, CallDecision, Permit } from "../core/decision.ts";
import type { CountersignError } from "../core/errors.ts";
import type { Asked } from "./ask-providers.ts";
import type { OutcomeSinks } from "./call-outcomes.ts";
import type { BodySource } from "./ext-authz/check-with-body.ts";
import type { AnswerChanges } from "./ext-authz/provider.ts";
import type { OutgoingRequest } from "./http-streams.ts";
import type { HeadLines } from "./http1/head-lines.ts";
import type { Fields, RequestHead, ResponseHead } from "./http1/http1-events.ts";
import type { Refusal } from "./refusal.ts";
import type { ScannedFields } from "./request-fields.ts";
import type { CallUpstream } from "./upstream/upstream.ts";

/** A request as policy sees it, with what its forwarding needs. Of one call alone: the streams of a connection wait at different times. */
export interface PreparedCall extends CallFacts {
  readonly request: RequestFacts;
  readonly scanned: ScannedFields;
  /** Path and query as they go to the upstream. */
  readonly target: string;
  /** What it was made from, where that is not the head as it came. */
  readonly edited?: EditedFields | undefined;
  /** Outbound: the value of the header with our JWT-SVID. Secret. */
  readonly ownToken?: string | undefined;
  /** Added to the response: name, value, name, value … */
  readonly responseFields?: readonly string[] | undefined;
}

/** A request's fields and query after something was taken out or put in. */
export interface EditedFields {
  readonly fields: Fields;
  /** With its leading "?", or "". */
  readonly query: string;
  /** Lower-cased names of fields that were put in: what the caller's Connection names is only what it sent itself. */
  readonly own?: readonly string[] | undefined;
  /** What providers made of it, one after the other. */
  readonly changes?: readonly AnswerChanges[] | undefined;
}

/** What differs between inbound and outbound HTTP, seen from one downstream connection. */
export interface HttpService extends OutcomeSinks {
  /** Version of the policy in force now. */
  readonly policyVersion: string;
  /** Its verdicts change with time: open calls are decided again as it passes. */
  readonly dependsOnTime: boolean;
  /** The connection should not be kept: drain, an identity near its end, or its age. */
  readonly closing: boolean;
  /** Why no new call is taken now; undefined: calls are taken. */
  readonly overload: CountersignError | undefined;
  firstByteDeadline(): number;
  /** By when what a provider is to see of a request's body must have come, if it is waited for from now on. */
  checkedBodyDeadline(): number;
  /** The outcome of a call that starts on this connection at `nowMs`, monotonic. */
  newOutcome(head: RequestHead, nowMs: number): CallOutcome;
  /** Checks that come before policy, and the facts for it; or why the call is refused. */
  prepare(head: RequestHead, outcome: CallOutcome): PreparedCall | CountersignError;
  /** Why prepare() would refuse an open call by the policy in force now. */
  openProblem(call: PreparedCall, head: RequestHead): CountersignError | undefined;
  /** Proves what the request says about its end user, before policy looks. At once, but where a token has to be verified. A promise never
   *  rejects. */
  authenticate(head: RequestHead, call: PreparedCall): PreparedCall | Promise<PreparedCall | Refusal>;
  decide(facts: CallFacts): CallDecision;
  /** Asks the providers that a decision waits for. Never rejects. `signal`: nobody waits any more. `body`: the call's. */
  ask(
    decision: AskDecision,
    head: RequestHead,
    call: PreparedCall,
    outcome: CallOutcome,
    signal: AbortSignal,
    body: BodySource,
  ): Promise<Asked<PreparedCall> | Refusal>;
  /** The call as a provider's answer changes it. */
  changed(head: RequestHead, call: PreparedCall, changes: AnswerChanges): PreparedCall;
  outgoing(head: RequestHead, call: PreparedCall, outcome: CallOutcome): OutgoingRequest;
  /** Taking a Permit is what keeps a call without one from ever reaching an upstream. */
  upstream(permit: Permit, facts: CallFacts | undefined): CallUpstream;
  responseLines(head: ResponseHead, outcome: CallOutcome, final: boolean): HeadLines;
  requestTrailers(trailers: Fields): Fields | undefined;
  responseTrailers(trailers: Fields): Fields | undefined;
  /** How much of a refusal's reason this caller may read. */
  answerDetail(detail: string): string;
  /** A call that will be open for long: its start is audited. */
  onLongCall(outcome: CallOutcome): void;
}
