import { textOfBytes } from "./byte-text.ts";
import type { CallView } from "./call-view.ts";
import { CostExceeded } from "./cel-environment.ts";
import { type CelExpression, compileCel } from "./cel-expression.ts";
import { joinedHeader, nextHeaderLine } from "./header-lines.ts";
import type { PolicyOptions } from "./policy-options.ts";

/** A rule's expression, ready to be asked. */
export interface CompiledExpression {
  readonly text: string;
  readonly dependsOnTime: boolean;
  readonly readsHttp: boolean;
  /** It may look at the path. */
  readonly readsPath: boolean;
  readonly readsConnection: boolean;
  /** Whether it holds; a text says what went wrong, without values of the call. */
  readonly ask: (call: CallView) => boolean | string;
}

/** About ten nanoseconds each. */
const MAX_COST = 200_000;
/** Values of a claims set, counted through all levels. */
const MAX_CLAIM_VALUES = 2_000;
const MAX_CLAIM_DEPTH = 16;

/** Compiles the text of a checked ExpressionModel. Throws a TypeError for one that was not checked. */
export function compileExpression(text: string, options: PolicyOptions): CompiledExpression {
  const expression = compileCel(text);
  if (!("run" in expression)) throw new TypeError(`the expression was not checked: ${expression.message}`);
  const workload = { namespace: options.workload.namespace, labels: options.workload.labels };
  const readsHttp = expression.names.has("request");
  const dependsOnTime = expression.names.has("time");
  const readsConnection = expression.names.has("connection");
  const { readsPath } = expression;
  const careful = options.mode === "strict";
  const asked = (call: CallView): boolean | string => ask(expression, call, workload, careful);
  return { text, dependsOnTime, readsHttp, readsPath, readsConnection, ask: asked };
}

/** `careful`: there is no text for a header that came on several lines, or not in UTF-8. */
function ask(expression: CelExpression, call: CallView, workload: object, careful: boolean): boolean | string {
  if (expression.names.has("time") && call.nowMs === undefined) return "the time of the call is not known";
  if (expression.names.has("request") && call.request === undefined) return "the call is no HTTP request";
  const measure = { size: expression.literalSize, text: 0 };
  let variables: Record<string, unknown>;
  try {
    variables = { ...variablesOf(expression.names, call, measure, careful), workload };
    const collection = Math.max(1, measure.size, expression.splits ? measure.text : 0);
    const cost = expression.nodes * collection ** expression.loops * (1 + measure.text / 256);
    if (cost > MAX_COST) return "it would cost more than it may for a call of this size";
    const result = expression.run(variables);
    return typeof result === "boolean" ? result : "it gave no bool";
  } catch (error) {
    if (error instanceof CostExceeded) return `it would cost more than it may: ${error.message}`;
    const code = (error as { readonly code?: unknown } | undefined)?.code;
    if (careful && code === "field_type_mismatch") return "a header or claim that it asks for is no single text";
    return `it failed: ${typeof code === "string" && /^[a-z_]+$/.test(code) ? code : "error"}`;
  }
}

interface Measure {
  /** Largest collection. */
  size: number;
  /** Longest text. */
  text: number;
}

function variablesOf(
  names: ReadonlySet<string>,
  call: CallView,
  measure: Measure,
  careful: boolean,
): Record<string, unknown> {
  const variables: Record<string, unknown> = {};
  if (names.has("source")) variables["source"] = sourceOf(call);
  if (names.has("request")) variables["request"] = requestOf(call, measure, careful);
  if (names.has("connection")) {
    const { sni, destinationIpText, port } = call.connection;
    variables["connection"] = { sni, destinationIp: destinationIpText, destinationPort: BigInt(port) };
  }
  if (names.has("destination")) variables["destination"] = { principal: call.destination };
  if (names.has("time") && call.nowMs !== undefined) variables["time"] = new Date(call.nowMs);
  return variables;
}

function sourceOf({ connection, request }: CallView): object {
  const { peer, kubernetes } = connection;
  const slash = connection.principal.indexOf("/");
  return {
    authenticated: connection.hasPeer,
    spiffeId: connection.id,
    principal: connection.principal,
    trustDomain: connection.trustDomain,
    path: slash === -1 ? "" : connection.principal.slice(slash),
    namespace: kubernetes?.namespace ?? "",
    serviceAccount: kubernetes?.account.slice(kubernetes.namespace.length + 1) ?? "",
    ip: connection.sourceIpText,
    remoteIp: request?.remoteIp ?? connection.remoteIpText,
    svid: {
      serial: peer?.serial ?? "",
      issuer: peer?.issuer ?? "",
      fingerprint: peer?.fingerprint ?? "",
      expires: new Date(peer?.notAfterMs ?? 0),
    },
  };
}

function requestOf({ request, hostName }: CallView, measure: Measure, careful: boolean): object {
  if (request === undefined) throw new TypeError("asked before");
  const headers = new Map<string, string | null>();
  for (let i = 0; i + 1 < request.headers.length; i += 2) {
    const name = (request.lowerNames?.[i >> 1] ?? request.headers[i] ?? "").toLowerCase();
    if (headers.has(name)) continue;
    const value = joinedHeader(request, name) ?? "";
    const text = textOfBytes(value);
    const isClear = text !== undefined && nextHeaderLine(request, name, i + 2) === -1;
    // is there, and fails whatever compares it: which line or reading counts is not for the caller to choose
    headers.set(name, careful && !isClear ? null : (text ?? value));
    measure.text = Math.max(measure.text, value.length, name.length);
  }
  const { identity } = request;
  const budget = { left: MAX_CLAIM_VALUES };
  measure.size = Math.max(measure.size, headers.size, identity?.audiences.length ?? 0);
  measure.text = Math.max(measure.text, request.path.length, hostName.length);
  const claims = new Map<string, unknown>();
  for (const [name, value] of Object.entries(identity?.claims ?? {}))
    claims.set(name, plain(value, 0, budget, measure));
  measure.size = Math.max(measure.size, claims.size);
  return {
    method: request.method,
    host: hostName,
    path: request.path,
    headers,
    auth: {
      authenticated: identity !== undefined,
      issuer: identity?.issuer ?? "",
      subject: identity?.subject ?? "",
      audiences: identity?.audiences ?? [],
      presenter: identity?.presenter ?? "",
      claims,
    },
  };
}

/** Claims as CEL values: objects become maps, so that nothing of a prototype is in reach. */
function plain(value: unknown, depth: number, budget: { left: number }, measure: Measure): unknown {
  if (--budget.left < 0 || depth > MAX_CLAIM_DEPTH) throw new CostExceeded("the claims are too many");
  if (typeof value === "string") measure.text = Math.max(measure.text, value.length);
  if (Array.isArray(value)) {
    measure.size = Math.max(measure.size, value.length);
    return value.map((item: unknown) => plain(item, depth + 1, budget, measure));
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  measure.size = Math.max(measure.size, entries.length);
  return new Map(entries.map(([key, inner]) => [key, plain(inner, depth + 1, budget, measure)]));
}
