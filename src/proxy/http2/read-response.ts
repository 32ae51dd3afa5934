import { CHUNKED, NO_BODY, parseContentLength } from "../http1/framing.ts";
import type { BodyFraming, Fields, ResponseHead } from "../http1/http1-events.ts";
import { reasonPhrase } from "../http1/reason-phrases.ts";
import { mayBeTrailer } from "../http1/trailer-names.ts";
import {
  type HeaderField,
  ROLE_CONNECTION_SPECIFIC,
  ROLE_CONTENT_LENGTH,
  ROLE_IMITATION,
  ROLE_NONE,
  ROLE_STATUS,
  ROLE_TE,
  ROLE_UNKNOWN_PSEUDO,
} from "./hpack-field.ts";
import {
  BAD_NAME,
  BAD_VALUE,
  CONNECTION_FIELD,
  type Http2Fault,
  IMITATION,
  isTrailersOnly,
  TE,
} from "./http2-fault.ts";
import { textPlaces } from "./text-places.ts";

export type { Http2Fault } from "./http2-fault.ts";

const STATUS = head("a response does not begin with one :status of three digits");
const PSEUDO = head("a response has a pseudo-header other than one :status, or behind a field");
const SWITCHING: Http2Fault = { code: "E_HTTP_RESPONSE_UPGRADE", detail: "HTTP/2 knows no status 101" };
const LENGTH: Http2Fault = {
  code: "E_HTTP_RESPONSE_FRAMING",
  detail: "content-length is not one plain number below 2^53",
};
const NO_DATA: Http2Fault = {
  code: "E_HTTP_RESPONSE_FRAMING",
  detail: "content-length announces a body where the response ends",
};
const TRAILER_PSEUDO: Http2Fault = { code: "E_HTTP2_HEAD", detail: "trailers hold a pseudo-header" };

const NO_NAMES: readonly string[] = [];

function head(detail: string): Http2Fault {
  return { code: "E_HTTP_RESPONSE_HEAD", detail };
}

/** Makes a response's head of a decoded header section, as RFC 9113 section 8 has it. `method` is that of the request that it answers.
 *  Where `endStream` says that a body of none follows, declaredLength is 0 and framing "none". */
export function readResponse(
  fields: readonly HeaderField[],
  count: number,
  endStream: boolean,
  method: string,
): ResponseHead | Http2Fault {
  const status = count === 0 ? -1 : statusOf(fields[0] as HeaderField);
  if (status === -1) return STATUS;
  if (status === 101) return SWITCHING;
  const raw = textPlaces(2 * count - 2);
  const lower = textPlaces(count - 1);
  let length = -1;
  for (let at = 1; at < count; at++) {
    const field = fields[at] as HeaderField;
    const { name, value, role } = field;
    if (!field.valid) return field.nameValid ? BAD_VALUE : BAD_NAME;
    if (role !== ROLE_NONE) {
      if (role <= ROLE_UNKNOWN_PSEUDO) return PSEUDO;
      if (role === ROLE_CONTENT_LENGTH) {
        if (length !== -1) return LENGTH;
        length = parseContentLength(value);
        if (length === -1) return LENGTH;
      } else if (role === ROLE_CONNECTION_SPECIFIC) return CONNECTION_FIELD;
      else if (role === ROLE_IMITATION) return IMITATION;
      else if (role === ROLE_TE && !isTrailersOnly(value)) return TE;
    }
    raw[2 * at - 2] = name;
    raw[2 * at - 1] = value;
    lower[at - 1] = name;
  }
  const bodiless =
    method === "HEAD" || status < 200 || status === 204 || status === 304 || (method === "CONNECT" && status < 300);
  let framing: BodyFraming = NO_BODY;
  if (!bodiless) {
    if (endStream) {
      if (length > 0) return NO_DATA;
      length = 0;
    } else framing = length === -1 ? CHUNKED : { kind: "length", length };
  }
  return {
    version: 2,
    status,
    reason: reasonPhrase(status),
    minor: 1,
    fields: { raw, lower },
    framing,
    declaredLength: length === -1 ? undefined : length,
    keepAlive: true,
    upgrade: undefined,
    connectionNames: NO_NAMES,
  };
}

function statusOf(field: HeaderField): number {
  if (field.role !== ROLE_STATUS) return -1;
  const { value } = field;
  if (value.length !== 3) return -1;
  let status = 0;
  for (let at = 0; at < 3; at++) {
    const digit = value.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return -1;
    status = 10 * status + digit;
  }
  return status < 100 ? -1 : status;
}

/** Makes a trailer section of decoded fields; what must not be a trailer is dropped (RFC 9110 section 6.5.1). undefined if nothing is left. */
export function readTrailers(fields: readonly HeaderField[], count: number): Fields | undefined | Http2Fault {
  let raw: string[] | undefined;
  const lower: string[] = [];
  for (let at = 0; at < count; at++) {
    const field = fields[at] as HeaderField;
    const { name, role } = field;
    if (!field.valid) return field.nameValid ? BAD_VALUE : BAD_NAME;
    if (role !== ROLE_NONE && role <= ROLE_UNKNOWN_PSEUDO) return TRAILER_PSEUDO;
    if (role === ROLE_CONNECTION_SPECIFIC) return CONNECTION_FIELD;
    if (!mayBeTrailer(name)) continue;
    raw ??= [];
    raw.push(name, field.value);
    lower.push(name);
  }
  return raw === undefined ? undefined : { raw, lower };
}
