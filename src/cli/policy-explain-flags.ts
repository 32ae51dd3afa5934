import { CountersignError } from "../core/errors.ts";
import { type AskedCall, readAskedCall } from "../policy-tools/asked-call.ts";
import { parseCurlLine } from "../policy-tools/curl-line.ts";

export interface ExplainArguments {
  readonly config: string;
  readonly trustDomain?: string;
  readonly from?: string;
  readonly to?: string;
  readonly ip?: string;
  readonly remoteIp?: string;
  readonly destinationIp?: string;
  readonly port?: string;
  readonly sni?: string;
  readonly tcp?: true;
  readonly method?: string;
  readonly host?: string;
  readonly path?: string;
  readonly header?: readonly string[];
  readonly claims?: string;
  readonly time?: string;
  readonly curl?: string;
  readonly id?: string;
  readonly audit?: readonly string[];
  readonly requests?: string;
  readonly all?: true;
  readonly json?: true;
}

/** Flags that describe a call, each with the name that it has in a line of a file. */
const CALL_FLAGS = {
  from: ["--from", "source.spiffeId"],
  ip: ["--ip", "source.ip"],
  remoteIp: ["--remote-ip", "source.remoteIp"],
  to: ["--to", "destination.spiffeId"],
  destinationIp: ["--destination-ip", "destination.ip"],
  port: ["--port", "destination.port"],
  sni: ["--sni", "connection.sni"],
  time: ["--time", "time"],
  tcp: ["--tcp", "protocol"],
} as const;
const REQUEST_FLAGS = {
  method: ["--method", "request.method"],
  host: ["--host", "request.host"],
  path: ["--path", "request.path"],
  header: ["--header", "request.headers"],
  claims: ["--claims", "request.claims"],
  curl: ["--curl", "request"],
} as const;
type CallFlag = keyof typeof CALL_FLAGS | keyof typeof REQUEST_FLAGS;

/** What would be passed over is refused: it would be taken for a part of the answer. */
export function refuseMixed(asked: ExplainArguments): void {
  const flagsOf = (flags: Partial<Record<CallFlag, readonly [string, string]>>) =>
    Object.entries(flags).flatMap(([name, [flag]]) => (asked[name as CallFlag] === undefined ? [] : [flag]));
  const request = flagsOf(REQUEST_FLAGS);
  const [other] = [...flagsOf(CALL_FLAGS), ...request];
  const [request0] = request;
  if (asked.tcp === true && request0 !== undefined)
    throw usage(`${request0} is about a request, and a TCP connection has none`, `give --tcp or ${request0}`);
  if (asked.id !== undefined && asked.requests !== undefined)
    throw usage("--id and --requests are two ways to say which call", "give one of them");
  const whole = asked.id === undefined ? (asked.requests === undefined ? undefined : "--requests") : "--id";
  if (whole !== undefined && other !== undefined)
    throw usage(`${whole} says the whole call, so ${other} would mean nothing`, `leave out ${whole} or ${other}`);
  if (asked.audit !== undefined && asked.id === undefined)
    throw usage("--audit says where to look for --id", "give --id, or leave out --audit");
}

/** Reads what the flags say; what is wrong names the flag. */
function readFlags(value: unknown): AskedCall {
  try {
    return readAskedCall(value);
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    const found = Object.values(CALL_FLAGS).find(([, member]) => error.message.startsWith(member));
    if (found === undefined) throw error;
    const [flag, member] = found;
    throw usage(
      `${flag}${error.message.slice(member.length)}`,
      `correct ${flag}: \`policy explain --help\` lists what each flag takes`,
    );
  }
}

/** The call that the flags describe; a curl line says what they do not. */
export function callOf(asked: ExplainArguments): AskedCall {
  const curl = asked.curl === undefined ? undefined : parseCurlLine(asked.curl);
  const headers = headersOf(asked.header ?? [], curl?.headers ?? []);
  const request = {
    method: asked.method ?? curl?.method,
    host: asked.host ?? curl?.host,
    path: asked.path ?? curl?.path,
    headers,
    claims: asked.claims === undefined ? undefined : jsonOf(asked.claims),
  };
  return readFlags({
    direction: asked.to === undefined ? "inbound" : "outbound",
    source: { spiffeId: idOf(asked.from), ip: asked.ip, remoteIp: asked.remoteIp },
    destination: {
      spiffeId: idOf(asked.to),
      ip: asked.destinationIp,
      port: asked.port === undefined ? undefined : Number(asked.port),
    },
    connection: { sni: asked.sni },
    time: asked.time,
    ...(asked.tcp === true ? { protocol: "tcp" } : { request }),
  });
}

/** With or without its scheme. */
function idOf(principal: string | undefined): string | undefined {
  if (principal === undefined || principal === "nobody") return undefined;
  return principal.startsWith("spiffe://") ? principal : `spiffe://${principal}`;
}

function headersOf(lines: readonly string[], more: readonly string[]): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  const add = (name: string, value: string) => {
    headers[name] = [...(headers[name] ?? []), value];
  };
  for (const line of lines) {
    const [, name, value] = /^([^:]+):[ \t]*(.*)$/s.exec(line) ?? [];
    if (name === undefined || value === undefined)
      throw usage("--header is not like 'x-tenant: acme'", "write the name, a colon and the value in one argument");
    add(name, value);
  }
  for (let i = 0; i + 1 < more.length; i += 2) add(more[i] ?? "", more[i + 1] ?? "");
  return headers;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw usage('--claims is not JSON like {"iss": "…", "sub": "…"}', "quote it for the shell by '…'");
  }
}

export function usage(message: string, fix: string): CountersignError {
  return new CountersignError("E_POLICY_REQUEST", message, { fix });
}
