import type { CallOutcome } from "../core/call-outcome.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { grpcAnswer, grpcStatusOf } from "./grpc-answer.ts";
import { isGrpcRequest } from "./grpc-fields.ts";
import type { OutgoingResponse } from "./http-streams.ts";
import type { RequestHead } from "./http1/http1-events.ts";
import { localAnswer } from "./local-answer.ts";
import type { Refusal } from "./refusal.ts";

const NO_BODY = Buffer.alloc(0);
const FORBIDDEN = 403;

/** What the caller of a refused call gets, in the form that its protocol reads. A gRPC status is noted in the outcome. `own` and `close`: see
 *  localAnswer. */
export function refusalAnswer(
  head: RequestHead,
  outcome: CallOutcome,
  status: number,
  code: ErrorCode,
  detail: string,
  close: boolean,
  own: Refusal | undefined,
): { readonly response: OutgoingResponse; readonly body: Uint8Array } {
  if (head.version !== 2 || !isGrpcRequest(head)) {
    // any success opens what an extended CONNECT asks for (RFC 8441 section 5): a provider may deny with one
    if (status < 300 && head.version === 2 && head.upgrade !== undefined) outcome.status = FORBIDDEN;
    else outcome.status = status;
    return localAnswer(outcome.status, code, detail, outcome.id, head.method, close, own);
  }
  outcome.status = 200;
  outcome.grpcStatus = grpcStatusOf(code, status);
  return { response: grpcAnswer(outcome.grpcStatus, code, detail, outcome.id), body: NO_BODY };
}
