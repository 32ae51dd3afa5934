import { normalizePath } from "../authz/path-normalization.ts";
import type { PathNormalization, PolicyMode } from "../authz/policy-options.ts";
import { CountersignError } from "../core/errors.ts";
import { principalOf } from "../core/spiffe-id.ts";
import { isMiscased } from "./ask-policy.ts";
import type { AskedCall, AskedRequest } from "./asked-call.ts";
import type { AuditedCall } from "./audited-call.ts";
import { pathTree } from "./path-tree.ts";
import { groupCallers, partsOf, type SeenCaller, type SuggestedRule, tcpBesideHttp } from "./suggest-rules.ts";

export interface SuggestOptions {
  /** Of calls to us, the usual case, or of our own to others. */
  readonly direction: "inbound" | "outbound";
  /** strict refuses a path with an encoded slash or a parameter once a policy names it. */
  readonly mode: PolicyMode;
  /** A path that this changes or refuses is one that no policy can name. */
  readonly pathNormalization: PathNormalization;
  readonly idsForTemplate: number;
  readonly namesForTemplate: number;
  /** Inbound: whether there are several apps' ports, so that each rule must say which it is about. */
  readonly severalPorts: boolean;
}

/** Calls that no policy can allow without allowing others, and calls that were denied. */
export interface LeftOut {
  readonly why: string;
  readonly calls: number;
  readonly example: string;
}

export interface Suggestion {
  readonly rules: readonly SuggestedRule[];
  /** Calls that the rules are made of. */
  readonly calls: number;
  readonly firstTime: string;
  readonly lastTime: string;
  readonly leftOut: readonly LeftOut[];
  /** Whether the call is one of those that `leftOut` counts, denied ones apart. */
  readonly isLeftOut: (call: AskedCall) => boolean;
}

export interface Suggester {
  add(call: AuditedCall): void;
  suggest(): Suggestion;
}

const MIXED = "a policy that allows TCP on a port allows all HTTP there";
const MAX_NODES = 500_000;
const MAX_CALLERS = 20_000;

/** Makes least-privilege rules of the calls that were allowed. Memory grows with how different the calls are, not with their number, and is
 *  bounded: beyond that CountersignError E_POLICY_SUGGEST_SIZE. */
export function createSuggester(options: SuggestOptions): Suggester {
  const budget = { nodes: MAX_NODES };
  const callers = new Map<string, SeenCaller>();
  const ports = new Set<number>();
  const leftOut = new Map<string, { calls: number; example: string }>();
  let calls = 0;
  let firstTime = "";
  let lastTime = "";
  const leave = (why: string, example: string): void => {
    const known = leftOut.get(why);
    if (known === undefined) leftOut.set(why, { calls: 1, example: example.slice(0, 200) });
    else known.calls++;
  };

  return {
    add({ call, decision, time }) {
      if (call.direction !== options.direction) return;
      const { request } = call;
      const what = request === undefined ? "TCP" : `${request.method} ${request.path}`;
      if (decision === "deny") return leave("denied", what);
      const problem = problemOf(call, options);
      if (problem !== undefined) return leave(problem, what);
      const port = call.destination.port ?? 0;
      ports.add(port);
      const { key, ...whom } = callerOf(call);
      let caller = callers.get(key);
      if (caller === undefined) {
        if (callers.size >= MAX_CALLERS)
          throw new CountersignError("E_POLICY_SUGGEST_SIZE", `the calls have more than ${MAX_CALLERS} callers`);
        const tunnels = { calls: 0, firstTime: time, lastTime: time, example: "" };
        caller = { ...whom, tunnels, paths: new Map(), httpPorts: new Set(), tcp: new Map() };
        callers.set(key, caller);
      }
      if (calls === 0 || time < firstTime) firstTime = time;
      if (time > lastTime) lastTime = time;
      calls++;
      if (request === undefined) addTcp(caller, port, time);
      else if (isTunnel(request)) {
        caller.tunnels.calls++;
        if (time > caller.tunnels.lastTime) caller.tunnels.lastTime = time;
      } else {
        caller.httpPorts.add(port);
        const place = options.direction === "inbound" ? port : 0;
        let tree = caller.paths.get(place);
        if (tree === undefined) {
          tree = pathTree({ ...options, budget });
          caller.paths.set(place, tree);
        }
        tree.add(request.method, withoutQuery(request.path), time);
      }
    },
    suggest: () => {
      const all = [...callers.values()];
      const namePorts = options.direction === "inbound" && (options.severalPorts || ports.size > 1);
      const mixed = tcpBesideHttp(all, options.direction, namePorts);
      const left = [...leftOut].map(([why, { calls: count, example }]) => ({ why, calls: count, example }));
      if (mixed.calls > 0) left.push({ why: MIXED, calls: mixed.calls, example: "TCP" });
      return {
        rules: groupCallers(partsOf(all, mixed.evidence, namePorts)),
        calls: calls - mixed.calls,
        firstTime,
        lastTime,
        leftOut: left,
        isLeftOut: (call) => {
          if (problemOf(call, options) !== undefined) return true;
          if (call.request !== undefined) return false;
          const seen = callers.get(callerOf(call).key)?.tcp.get(call.destination.port ?? 0);
          return seen !== undefined && mixed.evidence.has(seen);
        },
      };
    },
  };
}

/** Who called us, or whom we called; `port` where only that says which port of a host it was. */
function callerOf({
  direction,
  source,
  destination,
  request,
}: AskedCall): Pick<SeenCaller, "principal" | "host" | "port"> & { readonly key: string } {
  const peer = direction === "inbound" ? source.spiffeId : destination.spiffeId;
  const principal = peer === undefined ? "" : principalOf(peer);
  if (direction === "inbound" || peer !== undefined)
    return { key: principal, principal, host: undefined, port: undefined };
  const host = request?.host ?? "";
  const port = namesPort(host) ? undefined : (destination.port ?? 0);
  return { key: `host ${host} ${port ?? ""}`, principal, host, port };
}

function namesPort(authority: string): boolean {
  return /^(?:\[[^\]]*\]|[^:[\]]*):\d+$/.test(authority);
}

/** Why a call cannot be said in a policy exactly. */
function problemOf(call: AskedCall, options: SuggestOptions): string | undefined {
  const { direction, destination, request } = call;
  const { host, port } = callerOf(call);
  if (host !== undefined && !/^[A-Za-z0-9.:[\]-]+$/.test(host)) return "nothing says whom it was to";
  const isEndless = request === undefined && direction === "outbound" && (destination.port ?? 0) === 0;
  // In strict mode a host without a port stands for all of its ports.
  if (isEndless || port === 0) return "nothing says to which port it was";
  return request === undefined ? undefined : unwritable(request, options);
}

/** Why a request cannot be said in a policy exactly: some characters mean more there than themselves, and some forms never reach a policy. */
function unwritable({ method, path: target }: AskedRequest, options: SuggestOptions): string | undefined {
  const { mode, pathNormalization } = options;
  const path = withoutQuery(target);
  if (method === "CONNECT" && path === "") return undefined;
  if (!/^[A-Za-z0-9!#$%&'+.^_`|~-]+$/.test(method)) return "the method has a character that means more in a policy";
  if (isMiscased(method)) return "the method differs from a standard one only in case, which is answered with 400";
  if (!path.startsWith("/")) return "the path does not begin with a slash";
  if (/[^\x21-\x7e]/.test(path)) return "the path has a character that no request may have";
  if (mode === "strict" && /;|%2f|%5c/i.test(path))
    return "the path has an encoded slash, an encoded backslash or a ; parameter, which strict mode refuses beside a policy that names it";
  if (/[*{}]/.test(path)) return "the path has a character that means more in a policy than itself";
  const normal = normalizePath(path, "", pathNormalization, mode);
  if (!normal.ok) return `${normal.reason}, which is answered with 400`;
  if (normal.path !== path) return "the path is not in its plain form, the only one that a policy sees";
  return undefined;
}

function withoutQuery(target: string): string {
  const question = target.indexOf("?");
  return question === -1 ? target : target.slice(0, question);
}

function isTunnel({ method, path }: AskedRequest): boolean {
  return method === "CONNECT" && path === "";
}

function addTcp(caller: SeenCaller, port: number, time: string): void {
  const known = caller.tcp.get(port);
  if (known === undefined) caller.tcp.set(port, { calls: 1, firstTime: time, lastTime: time, example: "" });
  else {
    known.calls++;
    if (time > known.lastTime) known.lastTime = time;
  }
}
