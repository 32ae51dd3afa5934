import type { httpCodes } from "../../core/codes/http-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import type { Http1Violation } from "./http1-events.ts";

/** A rule of the protocol that a message broke. Faults are constants: what a peer sent never enters their text. */
export interface Fault {
  readonly code: RequestCode;
  readonly detail: string;
}

type HttpCode = keyof typeof httpCodes;
type RequestCode = Exclude<HttpCode, `E_HTTP_RESPONSE_${string}`>;
type ResponseCode = Extract<HttpCode, `E_HTTP_RESPONSE_${string}`>;

/** What a request with a fault is answered with. */
const REQUEST_STATUS: Readonly<Record<RequestCode, number>> = {
  E_HTTP_REQUEST_LINE: 400,
  E_HTTP_REQUEST_LINE_TOO_LONG: 414,
  E_HTTP_METHOD_CASE: 400,
  E_HTTP_TARGET: 400,
  E_HTTP_VERSION: 505,
  E_HTTP_LINE_END: 400,
  E_HTTP_LINE_FOLD: 400,
  E_HTTP_FIELD_NAME: 400,
  E_HTTP_FIELD_VALUE: 400,
  E_HTTP_HEAD_TOO_LARGE: 431,
  E_HTTP_TOO_MANY_FIELDS: 431,
  E_HTTP_HOST: 400,
  E_HTTP_CONTENT_LENGTH: 400,
  E_HTTP_TRANSFER_ENCODING: 400,
  E_HTTP_TRANSFER_CODING: 501,
  E_HTTP_TWO_FRAMINGS: 400,
  E_HTTP_CONNECT_BODY: 400,
  E_HTTP_CONNECTION: 400,
  E_HTTP_EXPECT: 417,
  E_HTTP_CHUNK: 400,
  E_HTTP_CHUNK_EXTENSIONS: 400,
  E_HTTP_INCOMPLETE: 400,
};

/** The response side's code for a fault; its status is always 502. Faults that only requests have are not listed. */
const RESPONSE_CODE: Readonly<Partial<Record<RequestCode, ResponseCode>>> = {
  E_HTTP_HEAD_TOO_LARGE: "E_HTTP_RESPONSE_TOO_LARGE",
  E_HTTP_TOO_MANY_FIELDS: "E_HTTP_RESPONSE_TOO_LARGE",
  E_HTTP_CONTENT_LENGTH: "E_HTTP_RESPONSE_FRAMING",
  E_HTTP_TRANSFER_ENCODING: "E_HTTP_RESPONSE_FRAMING",
  E_HTTP_TRANSFER_CODING: "E_HTTP_RESPONSE_FRAMING",
  E_HTTP_TWO_FRAMINGS: "E_HTTP_RESPONSE_FRAMING",
  E_HTTP_CHUNK: "E_HTTP_RESPONSE_FRAMING",
  E_HTTP_CHUNK_EXTENSIONS: "E_HTTP_RESPONSE_FRAMING",
  E_HTTP_INCOMPLETE: "E_HTTP_RESPONSE_INCOMPLETE",
};

export function requestViolation(fault: Fault): Http1Violation {
  return { error: new CountersignError(fault.code, fault.detail), status: REQUEST_STATUS[fault.code] };
}

export function responseViolation(fault: Fault): Http1Violation {
  return responseError(RESPONSE_CODE[fault.code] ?? "E_HTTP_RESPONSE_HEAD", fault.detail);
}

export function responseError(code: ResponseCode, detail: string): Http1Violation {
  return { error: new CountersignError(code, `upstream response: ${detail}`), status: 502 };
}
