import { trimOws } from "./framing.ts";
import type { HeadLines } from "./head-lines.ts";
import { isHopByHop } from "./hop-by-hop.ts";
import type { BodyFraming, Fields } from "./http1-events.ts";
import type { OutputBuffer } from "./output-buffer.ts";

/** A request to write. `fields` are name, value, name, value …; fields of the hop or the framing among them are skipped, for these are
 *  the writer's own: two messages never share them. */
export interface WrittenRequest {
  readonly method: string;
  /** Written as it is: a request target in the form that the upstream expects. */
  readonly target: string;
  /** Written before `fields`: lines without any field of the hop or the framing. */
  readonly lines?: HeadLines;
  readonly fields: readonly string[];
  /** How the body will be written: "none", "length" or "chunked". */
  readonly framing: BodyFraming;
  /** Protocol to ask for, or undefined. */
  readonly upgrade: string | undefined;
  /** Asks the upstream to close the connection after its response. */
  readonly close?: boolean;
}

/** A response to write; `fields` as in a request. */
export interface WrittenResponse {
  readonly status: number;
  readonly reason: string;
  /** As in a request. */
  readonly lines?: HeadLines;
  readonly fields: readonly string[];
  /** How the body will be written. "close" always says `Connection: close`. An HTTP/1.0 client never gets "chunked". */
  readonly framing: BodyFraming;
  readonly close: boolean;
  /** Protocol of a 101, or undefined. */
  readonly upgrade: string | undefined;
  /** Content-Length to announce although no body follows: of a response to HEAD, or a 304. Used with framing "none" only. */
  readonly declaredLength?: number | undefined;
  /** Says `Connection: keep-alive`, which an HTTP/1.0 client needs to hear when it asked for it. */
  readonly keepAlive?: boolean;
}

/** Appends a request head. Throws TypeError, with nothing appended, if a name, a value or the request line holds CR, LF, NUL or
 *  another control character but HTAB, or a request line has more than its two spaces. */
export function writeRequestHead(out: OutputBuffer, request: WrittenRequest): void {
  const { method, target, fields, framing, upgrade } = request;
  if (method === "" || target === "" || method.includes(" ") || target.includes(" ")) {
    throw new TypeError("a request line needs a method and a target without spaces");
  }
  let text = `${method} ${target} HTTP/1.1\r\n`;
  let lines = 2;
  const checkedFrom = text.length;
  let checkedTo = checkedFrom;
  if (request.lines !== undefined) {
    text += request.lines.text;
    checkedTo += request.lines.checked;
    lines += request.lines.made;
  }
  let trailersWelcome = false;
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] as string;
    if (isHopByHop(name)) {
      if (name.length === 2 && welcomesTrailers(fields[at + 1] as string)) trailersWelcome = true;
      continue;
    }
    text += `${name}: ${fields[at + 1] as string}\r\n`;
    lines++;
  }
  if (framing.kind === "length") {
    text += `Content-Length: ${framing.length}\r\n`;
    lines++;
  } else if (framing.kind === "chunked") {
    text += "Transfer-Encoding: chunked\r\n";
    lines++;
  } else if (framing.kind === "close") {
    throw new TypeError("a request can't end with its connection");
  }
  if (trailersWelcome) {
    text += "TE: trailers\r\n";
    lines++;
  }
  if (upgrade !== undefined) {
    text += `Upgrade: ${upgrade}\r\n`;
    lines++;
  }
  const connection = connectionLine(upgrade !== undefined, request.close === true, trailersWelcome);
  if (connection !== "") lines++;
  out.lines(`${text}${connection}\r\n`, lines, checkedFrom, checkedTo);
}

/** Appends a response head. Throws TypeError, with nothing appended, as writeRequestHead does, and for a status that is not of three digits. */
export function writeResponseHead(out: OutputBuffer, response: WrittenResponse): void {
  const { status, fields, framing, upgrade } = response;
  if (!Number.isInteger(status) || status < 100 || status > 999) throw new TypeError("a status has three digits");
  let text = `HTTP/1.1 ${status} ${response.reason}\r\n`;
  let lines = 2;
  const checkedFrom = text.length;
  let checkedTo = checkedFrom;
  if (response.lines !== undefined) {
    text += response.lines.text;
    checkedTo += response.lines.checked;
    lines += response.lines.made;
  }
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] as string;
    if (isHopByHop(name)) continue;
    text += `${name}: ${fields[at + 1] as string}\r\n`;
    lines++;
  }
  const length = announcedLength(response);
  if (length !== undefined) {
    text += `Content-Length: ${length}\r\n`;
    lines++;
  } else if (framing.kind === "chunked") {
    text += "Transfer-Encoding: chunked\r\n";
    lines++;
  }
  if (upgrade !== undefined) {
    text += `Upgrade: ${upgrade}\r\nConnection: upgrade\r\n`;
    lines += 2;
  } else if (response.close || framing.kind === "close") {
    text += "Connection: close\r\n";
    lines++;
  } else if (response.keepAlive === true) {
    text += "Connection: keep-alive\r\n";
    lines++;
  }
  out.lines(`${text}\r\n`, lines, checkedFrom, checkedTo);
}

/** Appends one chunk; nothing for no bytes, since an empty chunk would end the body. */
export function writeChunk(out: OutputBuffer, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  out.latin1(`${bytes.length.toString(16)}\r\n`);
  out.bytes(bytes);
  out.latin1("\r\n");
}

/** Ends a chunked body. Throws TypeError as writeRequestHead does. */
export function writeLastChunk(out: OutputBuffer, trailers: Fields | undefined): void {
  if (trailers === undefined) {
    out.latin1("0\r\n\r\n");
    return;
  }
  const { raw } = trailers;
  let text = "0\r\n";
  let lines = 2;
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] as string;
    if (isHopByHop(name)) continue;
    text += `${name}: ${raw[at + 1] as string}\r\n`;
    lines++;
  }
  out.lines(`${text}\r\n`, lines);
}

/** Of a TE value only `trailers` is passed on: a transfer coding is a matter of one hop (RFC 9110 section 10.1.4). */
export function welcomesTrailers(te: string): boolean {
  return te === "trailers" || te.split(",").some((coding) => trimOws(coding).toLowerCase() === "trailers");
}

function connectionLine(upgrade: boolean, close: boolean, te: boolean): string {
  if (!upgrade && !close && !te) return "";
  const options: string[] = [];
  if (upgrade) options.push("upgrade");
  if (close) options.push("close");
  if (te) options.push("TE");
  return `Connection: ${options.join(", ")}\r\n`;
}

/** RFC 9110 section 8.6: 1xx and 204 never announce a length. */
export function announcedLength(response: WrittenResponse): number | undefined {
  const { framing, status } = response;
  if (status < 200 || status === 204) return undefined;
  if (framing.kind === "length") return framing.length;
  return framing.kind === "none" ? response.declaredLength : undefined;
}
