import { isAuthority } from "../http1/authority.ts";
import { isToken, TARGET_BYTE } from "../http1/byte-classes.ts";
import { BAD_LENGTH, CHUNKED, NO_BODY, parseContentLength } from "../http1/framing.ts";
import type { BodyFraming, Http1Limits, RequestHead } from "../http1/http1-events.ts";
import { isStandardInOtherCase, isStandardMethod, METHOD_CASE } from "../http1/request-line.ts";
import { upgradeToken } from "../http1/upgrade-token.ts";
import {
  type HeaderField,
  ROLE_AUTHORITY,
  ROLE_CONNECTION_SPECIFIC,
  ROLE_CONTENT_LENGTH,
  ROLE_COOKIE,
  ROLE_EXPECT,
  ROLE_HOST,
  ROLE_IMITATION,
  ROLE_METHOD,
  ROLE_NONE,
  ROLE_PATH,
  ROLE_PROTOCOL,
  ROLE_SCHEME,
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

const LATE_PSEUDO = head("a pseudo-header stands behind a field");
const TWICE = head("a pseudo-header is there twice");
const UNKNOWN_PSEUDO = head("a request has a pseudo-header that requests do not have");
const METHOD = head("a request has no :method, or one that is no token");
const SCHEME = head("a request's :scheme is neither http nor https");
const CONNECT_SHAPE = head("a CONNECT request has :scheme or :path without :protocol, or :protocol without them");
const PROTOCOL = head(":protocol is not with CONNECT, or names no protocol that may be tunnelled");
const PATH: Http2Fault = { code: "E_HTTP_TARGET", detail: "a request's :path is missing or empty, or no path" };
const PATH_BYTE: Http2Fault = { code: "E_HTTP_TARGET", detail: "the request target holds a forbidden byte" };
const TARGET_TOO_LONG: Http2Fault = {
  code: "E_HTTP_REQUEST_LINE_TOO_LONG",
  detail: "method and :path are longer than the limit for a request line",
};
const NO_HOST: Http2Fault = { code: "E_HTTP_HOST", detail: "a request has neither :authority nor host" };
const MANY_HOSTS: Http2Fault = { code: "E_HTTP_HOST", detail: "there is more than one host" };
const TWO_HOSTS: Http2Fault = { code: "E_HTTP_HOST", detail: ":authority and host differ" };
const BAD_HOST: Http2Fault = { code: "E_HTTP_HOST", detail: ":authority or host is no plain host and port" };
const EXPECT: Http2Fault = { code: "E_HTTP_EXPECT", detail: "Expect is not 100-continue" };
const CONNECT_BODY: Http2Fault = { code: "E_HTTP_CONNECT_BODY", detail: "a CONNECT request announces a body" };
const NO_DATA: Http2Fault = {
  code: "E_HTTP_CONTENT_LENGTH",
  detail: "content-length announces a body where the request ends",
};

const NO_NAMES: readonly string[] = [];
/** What a request line has beside method and target: two spaces and the version. */
const REQUEST_LINE_REST = 10;
const SLASH = 47;
const QUESTION_MARK = 63;

function head(detail: string): Http2Fault {
  return { code: "E_HTTP2_HEAD", detail };
}

/** Makes a request's head of a decoded header section: all that RFC 9113 section 8 and RFC 8441 ask for, and what our HTTP/1.1 decoder
 *  refuses. `fields` of the head begin with the one `host`; cookie crumbs are one cookie. An extended CONNECT is origin-form with its
 *  protocol as `upgrade`; it and CONNECT have no body: what follows is a tunnel's. */
export function readRequest(
  fields: readonly HeaderField[],
  count: number,
  endStream: boolean,
  limits: Http1Limits,
): RequestHead | Http2Fault {
  let method: string | undefined;
  let scheme: string | undefined;
  let authority: string | undefined;
  let target: string | undefined;
  let protocol: string | undefined;

  let at = 0;
  for (; at < count; at++) {
    const field = fields[at] as HeaderField;
    const { role, value } = field;
    if (role === ROLE_NONE || role > ROLE_UNKNOWN_PSEUDO) break;
    if (!field.valid) return field.nameValid ? BAD_VALUE : BAD_NAME;
    if (role === ROLE_METHOD) {
      if (method !== undefined) return TWICE;
      method = value;
    } else if (role === ROLE_PATH) {
      if (target !== undefined) return TWICE;
      target = value;
    } else if (role === ROLE_SCHEME) {
      if (scheme !== undefined) return TWICE;
      scheme = value;
    } else if (role === ROLE_AUTHORITY) {
      if (authority !== undefined) return TWICE;
      authority = value;
    } else if (role === ROLE_PROTOCOL) {
      if (protocol !== undefined) return TWICE;
      protocol = value;
    } else return UNKNOWN_PSEUDO;
  }

  // of their final size, so that nothing grows; the first place is the host's, once it is known
  const places = count - at + 1;
  const raw = textPlaces(2 * places);
  const lower = textPlaces(places);
  let kept = 1;
  raw[0] = "host";
  lower[0] = "host";
  let host: string | undefined;
  let length = -1;
  let cookie = 0;
  let expectContinue = false;
  for (; at < count; at++) {
    const field = fields[at] as HeaderField;
    const { name, value } = field;
    if (!field.valid) return field.nameValid ? BAD_VALUE : BAD_NAME;
    switch (field.role) {
      case ROLE_NONE:
        break;
      case ROLE_HOST:
        if (host !== undefined) return MANY_HOSTS;
        host = value;
        continue;
      case ROLE_COOKIE:
        if (cookie !== 0) {
          raw[cookie] = `${raw[cookie]}; ${value}`;
          continue;
        }
        cookie = 2 * kept + 1;
        break;
      case ROLE_TE:
        if (!isTrailersOnly(value)) return TE;
        break;
      case ROLE_CONTENT_LENGTH:
        if (length !== -1) return BAD_LENGTH;
        length = parseContentLength(value);
        if (length === -1) return BAD_LENGTH;
        break;
      case ROLE_EXPECT:
        if (expectContinue || (value !== "100-continue" && value.toLowerCase() !== "100-continue")) return EXPECT;
        expectContinue = true;
        break;
      case ROLE_CONNECTION_SPECIFIC:
        return CONNECTION_FIELD;
      case ROLE_IMITATION:
        return IMITATION;
      default:
        return field.role === ROLE_STATUS ? UNKNOWN_PSEUDO : LATE_PSEUDO;
    }
    raw[2 * kept] = name;
    raw[2 * kept + 1] = value;
    lower[kept++] = name;
  }
  if (kept < places) {
    raw.length = 2 * kept;
    lower.length = kept;
  }

  const fault =
    methodFault(method, limits) ?? hostFault(authority, host, method === "CONNECT" && protocol === undefined);
  if (fault !== undefined) return fault;
  const asked = method as string;
  const named = (authority ?? host) as string;
  raw[1] = named;
  let form: RequestHead["form"] = "origin";
  let path = "";
  let query = "";
  let upgrade: string | undefined;
  let sentScheme: RequestHead["sentScheme"];
  let framing: BodyFraming = NO_BODY;
  if (asked === "CONNECT") {
    if (length > 0) return CONNECT_BODY;
    if ((scheme === undefined) !== (protocol === undefined) || (target === undefined) !== (protocol === undefined)) {
      return CONNECT_SHAPE;
    }
    if (protocol === undefined) {
      form = "authority";
      target = named;
    } else {
      upgrade = upgradeToken(protocol);
      if (upgrade === undefined) return PROTOCOL;
    }
  } else {
    if (protocol !== undefined) return PROTOCOL;
    if (endStream && length > 0) return NO_DATA;
    if (length !== -1) framing = { kind: "length", length };
    else if (!endStream) framing = CHUNKED;
  }
  if (form === "origin") {
    if (scheme !== "http" && scheme !== "https") return SCHEME;
    sentScheme = scheme;
    if (target === undefined || target === "") return PATH;
    path = target;
    if (target.charCodeAt(0) === SLASH) {
      const mark = endOfPath(target);
      if (mark === -1) return PATH_BYTE;
      if (mark < target.length) {
        path = target.slice(0, mark);
        query = target.slice(mark);
      }
    } else if (target === "*" && asked === "OPTIONS") form = "asterisk";
    else return PATH;
  }
  if (asked.length + (target as string).length + REQUEST_LINE_REST > limits.requestLine) return TARGET_TOO_LONG;
  return {
    version: 2,
    method: asked,
    target: target as string,
    form,
    scheme: "",
    sentScheme,
    authority: named,
    path,
    query,
    minor: 1,
    fields: { raw, lower },
    framing,
    keepAlive: true,
    expectContinue,
    upgrade,
    connectionNames: NO_NAMES,
  };
}

function methodFault(method: string | undefined, limits: Http1Limits): Http2Fault | undefined {
  if (method !== undefined && isStandardMethod(method)) return undefined;
  if (method === undefined || !isToken(method)) return METHOD;
  return (limits.refuseMethodCase ?? true) && isStandardInOtherCase(method) ? METHOD_CASE : undefined;
}

function hostFault(
  authority: string | undefined,
  host: string | undefined,
  needsPort: boolean,
): Http2Fault | undefined {
  if (authority === undefined) {
    if (host === undefined) return NO_HOST;
    return isAuthority(host, needsPort) ? undefined : BAD_HOST;
  }
  if (!isAuthority(authority, needsPort)) return BAD_HOST;
  if (host === undefined || host === authority) return undefined;
  return host.toLowerCase() === authority.toLowerCase() ? undefined : TWO_HOSTS;
}

/** Where the first `?` is, or the target's length; -1 if the target holds a byte that the HTTP/1.1 decoder refuses. */
function endOfPath(target: string): number {
  let end = -1;
  for (let at = 0; at < target.length; at++) {
    const code = target.charCodeAt(at);
    if (TARGET_BYTE[code] !== 1) return -1;
    if (code === QUESTION_MARK && end === -1) end = at;
  }
  return end === -1 ? target.length : end;
}
