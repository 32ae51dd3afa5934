import type { CallOutcome } from "../core/call-outcome.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { finishOutcome } from "./call-outcomes.ts";
import type { HttpService } from "./http-service.ts";
import type { Fields, RequestHead } from "./http1/http1-events.ts";

const NO_FIELDS: Fields = { raw: [], lower: [] };
/** Stands for the head of a request that could not be read, in its record. */
const UNREADABLE_HEAD: RequestHead = {
  version: 1,
  method: "",
  target: "",
  form: "origin",
  scheme: "",
  authority: "",
  path: "",
  query: "",
  minor: 1,
  fields: NO_FIELDS,
  framing: { kind: "none" },
  keepAlive: false,
  expectContinue: false,
  upgrade: undefined,
  connectionNames: [],
};

/** Writes a record of its own for what kept a request from being one, or ended its connection. `startedMs`: monotonic; `status`: of the answer, if
 *  there is one. Returns the record's id, for that answer. */
export function recordUnreadable(
  service: HttpService,
  protocol: CallOutcome["protocol"],
  startedMs: number,
  code: ErrorCode,
  detail: string,
  status: number | undefined,
): string {
  const outcome = service.newOutcome(UNREADABLE_HEAD, startedMs);
  outcome.kind = "refusal";
  outcome.protocol = protocol;
  outcome.method = undefined;
  outcome.authority = undefined;
  outcome.decision = "error";
  outcome.reason = code;
  outcome.detail = detail;
  outcome.status = status;
  outcome.close = "bad-request";
  finishOutcome(service, outcome, undefined);
  return outcome.id;
}
