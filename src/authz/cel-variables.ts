import { textOfBytes } from "./byte-text.ts";
import type { CallView, ConnectionView } from "./call-view.ts";
import { CostExceeded } from "./cel-environment.ts";
import { joinedHeader, nextHeaderLine } from "./header-lines.ts";

/** What a call's values depend on besides the call. */
export interface CelSetting {
  readonly workload: object;
  /** strict: there is no text for a header that came on several lines, or not in UTF-8. */
  readonly careful: boolean;
  /** It stands in an ALLOW: what says nothing certain about the caller must not grant. */
  readonly grants: boolean;
  /** The local trust domain and its aliases. */
  readonly home: readonly string[];
}

/** In place of a value that is there and is no one text: whatever compares it fails, also as `dyn`, for the library knows no such type. What is not
 *  there at all is left out, so that `has` can ask. */
const UNCLEAR = Symbol("unclear");

/** Values of a claims set, counted through all levels. */
const MAX_CLAIM_VALUES = 2_000;
const MAX_CLAIM_DEPTH = 16;

/** How large the values are. */
export interface CelMeasure {
  /** Largest collection. */
  size: number;
  /** Longest text. */
  text: number;
}

/** The variables of these names as an expression sees them. `measure` grows with them. Throws CostExceeded for claims that are too many. */
export function celVariables(
  names: ReadonlySet<string>,
  call: CallView,
  measure: CelMeasure,
  setting: CelSetting,
): Record<string, unknown> {
  const variables: Record<string, unknown> = { workload: setting.workload };
  if (names.has("source")) variables["source"] = sourceOf(call, setting);
  if (names.has("request")) variables["request"] = requestOf(call, measure, setting);
  if (names.has("connection")) {
    const { sni, destinationIpText, port } = call.connection;
    variables["connection"] = { sni, destinationIp: destinationIpText, destinationPort: BigInt(port) };
  }
  if (names.has("destination")) variables["destination"] = destinationOf(call);
  if (names.has("time") && call.nowMs !== undefined) variables["time"] = new Date(call.nowMs);
  return variables;
}

/** An open destination is every principal that begins so, and which one the expression means is not for us to choose. */
function destinationOf({ destination, isOpen }: CallView): object {
  if (destination === "") return {};
  return { principal: isOpen ? UNCLEAR : destination };
}

/** Without an identity there is none to compare: a DENY meets such callers as well, and an ALLOW does not, whichever way it asks. */
function sourceOf({ connection, request }: CallView, setting: CelSetting): object {
  const { peer, principal } = connection;
  const addresses = { ip: connection.sourceIpText, remoteIp: request?.remoteIp ?? connection.remoteIpText };
  if (peer === undefined) return { authenticated: false, svid: {}, ...addresses };
  const slash = principal.indexOf("/");
  return {
    authenticated: true,
    spiffeId: connection.id,
    principal,
    trustDomain: connection.trustDomain,
    path: slash === -1 ? "" : principal.slice(slash),
    ...kubernetesNames(connection, setting),
    ...addresses,
    svid: {
      serial: peer.serial,
      issuer: peer.issuer,
      fingerprint: peer.fingerprint,
      expires: new Date(peer.notAfterMs),
    },
  };
}

/** Namespace and service account of the caller as the fields of their names see them (authorization, section 1). What grants takes them from our own
 *  trust domains alone, else a partner's /ns/prod/ would be our prod, and from an ID that has them at their places. */
function kubernetesNames(connection: ConnectionView, { grants, home }: CelSetting): object {
  const { kubernetes, trustDomain, namespaces, accountNames } = connection;
  if (kubernetes !== undefined) {
    if (grants && !home.includes(trustDomain)) return { namespace: UNCLEAR, serviceAccount: UNCLEAR };
    const { namespace, account } = kubernetes;
    return { namespace, serviceAccount: account.slice(namespace.length + 1) };
  }
  const absent = grants ? undefined : "";
  return {
    namespace: namespaces.length > 0 ? UNCLEAR : absent,
    serviceAccount: accountNames.length > 0 ? UNCLEAR : absent,
  };
}

function requestOf({ request, hostName }: CallView, measure: CelMeasure, setting: CelSetting): object {
  if (request === undefined) throw new TypeError("asked before");
  const { careful, grants } = setting;
  const headers = new Map<string, string | symbol>();
  for (let i = 0; i + 1 < request.headers.length; i += 2) {
    const name = (request.lowerNames?.[i >> 1] ?? request.headers[i] ?? "").toLowerCase();
    if (headers.has(name)) continue;
    const value = joinedHeader(request, name) ?? "";
    const text = textOfBytes(value);
    const isClear = text !== undefined && nextHeaderLine(request, name, i + 2) === -1;
    // which line, reading or spelling counts is not for the caller to choose; Host is compared as request.host
    headers.set(name, name === "host" || (careful && !isClear) ? UNCLEAR : (text ?? value));
    measure.text = Math.max(measure.text, value.length, name.length);
  }
  const written = request.written ?? [];
  for (let i = 0; i + 1 < written.length; i += 2) {
    const value = written[i + 1] ?? "";
    headers.set(written[i] ?? "", value);
    measure.text = Math.max(measure.text, value.length);
  }
  const { identity } = request;
  const budget = { left: MAX_CLAIM_VALUES };
  measure.size = Math.max(measure.size, headers.size, identity?.audiences.length ?? 0);
  measure.text = Math.max(measure.text, request.path.length, hostName.length);
  const asked = { method: request.method, host: hostName, path: request.path, headers };
  // as with the caller's own identity: `!=` must not grant anything to a request without a token
  if (identity === undefined && grants) return { ...asked, auth: { authenticated: false } };
  const claims = new Map<string, unknown>();
  for (const [name, value] of Object.entries(identity?.claims ?? {}))
    claims.set(name, plain(value, 0, budget, measure));
  measure.size = Math.max(measure.size, claims.size);
  return {
    ...asked,
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
function plain(value: unknown, depth: number, budget: { left: number }, measure: CelMeasure): unknown {
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
