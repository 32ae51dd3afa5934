import type { HeaderList } from "../core/call-facts.ts";
import { CountersignError } from "../core/errors.ts";
import { formatIpAddress, parseIpAddress } from "../core/ip-address.ts";
import { parseSpiffeId, type SpiffeId } from "../core/spiffe-id.ts";

/** A call that somebody asks about, as it would come from the wire: nothing is normalised or filtered yet. */
export interface AskedCall {
  readonly direction: "inbound" | "outbound";
  readonly source: {
    /** undefined: a caller without identity. */
    readonly spiffeId: SpiffeId | undefined;
    /** "" when it is not known. */
    readonly ip: string;
    /** undefined: what follows from `ip` and the request. */
    readonly remoteIp: string | undefined;
  };
  readonly destination: {
    /** Outbound: who answers. */
    readonly spiffeId: SpiffeId | undefined;
    readonly ip: string;
    /** undefined: the only one there is. */
    readonly port: number | undefined;
  };
  readonly sni: string;
  /** Milliseconds since the epoch; undefined: now. */
  readonly timeMs: number | undefined;
  /** undefined for TCP. */
  readonly request: AskedRequest | undefined;
}

export interface AskedRequest {
  readonly method: string;
  /** undefined: nobody said. */
  readonly host: string | undefined;
  /** With its query. */
  readonly path: string;
  /** Name, value, name, value … in the order of the wire. */
  readonly headers: HeaderList;
  /** A character of `headers` stands for a byte of the wire, not for itself. */
  readonly headersAreBytes?: true;
  /** Of a verified token; undefined without one. */
  readonly claims: Readonly<Record<string, unknown>> | undefined;
}

type Json = Readonly<Record<string, unknown>>;

const MAX_TEXT = 64 * 1024;

/** Reads a request from its JSON form: `{"source": {"spiffeId", "ip", "remoteIp"}, "destination": {"ip", "port"}, "connection": {"sni"},
 *  "protocol": "http"|"tcp", "request": {"method", "host", "path", "headers", "claims"}}`, and of ours `"direction"`,
 *  `"destination.spiffeId"` and `"time"`. Whatever is absent is unknown; a member that
 *  is not known here is refused, for it would be taken for one that counts. Throws CountersignError E_POLICY_REQUEST. */
export function parseAskedCall(text: string): AskedCall {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refused("it is not JSON");
  }
  return readAskedCall(value);
}

/** The same for a value that is already parsed. */
export function readAskedCall(value: unknown): AskedCall {
  const call = objectAt(value, "the request line", [
    "direction",
    "source",
    "destination",
    "connection",
    "protocol",
    "request",
    "time",
  ]);
  const source = objectAt(call["source"] ?? {}, "source", ["spiffeId", "ip", "remoteIp"]);
  const destination = objectAt(call["destination"] ?? {}, "destination", ["spiffeId", "ip", "port"]);
  const connection = objectAt(call["connection"] ?? {}, "connection", ["sni"]);
  const protocol = oneOf(call["protocol"] ?? (call["request"] === undefined ? "tcp" : "http"), "protocol", [
    "http",
    "tcp",
  ]);
  if ((protocol === "http") !== (call["request"] !== undefined && call["request"] !== null))
    throw refused(`protocol is ${protocol}, and there is ${protocol === "http" ? "no request" : "a request"}`);
  return {
    direction: oneOf(call["direction"] ?? "inbound", "direction", ["inbound", "outbound"]),
    source: {
      spiffeId: idAt(source, "spiffeId", "source"),
      ip: addressAt(source, "ip", "source") ?? "",
      remoteIp: addressAt(source, "remoteIp", "source"),
    },
    destination: {
      spiffeId: idAt(destination, "spiffeId", "destination"),
      ip: addressAt(destination, "ip", "destination") ?? "",
      port: portAt(destination["port"]),
    },
    sni: textAt(connection, "sni", "connection") ?? "",
    timeMs: timeAt(call),
    request: protocol === "tcp" ? undefined : readRequest(call["request"]),
  };
}

function readRequest(value: unknown): AskedRequest {
  const request = objectAt(value, "request", ["method", "host", "path", "headers", "claims"]);
  const claims = request["claims"] ?? undefined;
  return {
    method: textAt(request, "method", "request") ?? "GET",
    host: textAt(request, "host", "request"),
    path: textAt(request, "path", "request") ?? "/",
    headers: readHeaders(request["headers"] ?? {}),
    claims: claims === undefined ? undefined : objectAt(claims, "request.claims", undefined),
  };
}

/** `{"name": "value"}`; a list of values stands for several lines of the name. */
function readHeaders(value: unknown): HeaderList {
  return Object.entries(objectAt(value, "request.headers", undefined)).flatMap(([name, lines]) => {
    if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name))
      throw refused(`request.headers has ${show(name)}, which is no name of a header`);
    return [lines].flat().flatMap((line) => {
      if (typeof line !== "string" || /[\r\n\0]/.test(line))
        throw refused(`request.headers[${show(name)}] is no text, or has a line break`);
      return [name, line.replace(/^[ \t]+|[ \t]+$/g, "")];
    });
  });
}

function objectAt(value: unknown, label: string, known: readonly string[] | undefined): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw refused(`${label} is no object`);
  const object = value as Json;
  const unknown = known === undefined ? undefined : Object.keys(object).find((key) => !known.includes(key));
  if (unknown !== undefined)
    throw refused(`${label} has ${show(unknown)}, and only ${known?.join(", ") ?? ""} are known`);
  return object;
}

/** null counts as absent. */
function textAt(object: Json, key: string, label: string): string | undefined {
  const value = object[key] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "string" || value.length > MAX_TEXT) throw refused(`${label}.${key} is no text, or too long`);
  return value;
}

function idAt(object: Json, key: string, label: string): SpiffeId | undefined {
  const text = textAt(object, key, label);
  if (text === undefined || text === "") return undefined;
  try {
    return parseSpiffeId(text);
  } catch (error) {
    throw refused(`${label}.${key}: ${error instanceof CountersignError ? error.message : "no SPIFFE ID"}`);
  }
}

/** IPv4-mapped IPv6 becomes IPv4, as it does on a connection. */
function addressAt(object: Json, key: string, label: string): string | undefined {
  const text = textAt(object, key, label);
  if (text === undefined || text === "") return undefined;
  const address = parseIpAddress(text);
  if (address === undefined) throw refused(`${label}.${key} ${show(text)} is no IP address`);
  return formatIpAddress(address);
}

/** RFC 3339. */
function timeAt(call: Json): number | undefined {
  const text = textAt(call, "time", "the request line");
  if (text === undefined) return undefined;
  const time = /^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw refused(`time ${show(text)} is none like 2030-01-01T12:00:00Z`);
  return time;
}

function portAt(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 65_535) return value;
  throw refused("destination.port is no number from 0 to 65535");
}

function oneOf<const T extends string>(value: unknown, label: string, words: readonly T[]): T {
  const word = words.find((candidate) => candidate === value);
  if (word === undefined) throw refused(`${label} is none of ${words.join(", ")}`);
  return word;
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}

function refused(why: string): CountersignError {
  return new CountersignError("E_POLICY_REQUEST", why);
}
