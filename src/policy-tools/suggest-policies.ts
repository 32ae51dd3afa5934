import type { PolicyMode } from "../authz/policy-options.ts";
import { CountersignError } from "../core/errors.ts";
import { principalOf } from "../core/spiffe-id.ts";
import type { AskedRequest } from "./asked-call.ts";
import type { AuditedCall } from "./audited-call.ts";
import { pathTree } from "./path-tree.ts";
import { groupCallers, partsOf, type SeenCaller, type SuggestedRule, tcpBesideHttp } from "./suggest-rules.ts";

export interface SuggestOptions {
  /** Of calls to us, the usual case, or of our own to others. */
  readonly direction: "inbound" | "outbound";
  /** strict refuses a path with an encoded slash or a parameter once a policy names it. */
  readonly mode: PolicyMode;
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
      const peer = options.direction === "inbound" ? call.source.spiffeId : call.destination.spiffeId;
      const principal = peer === undefined ? "" : principalOf(peer);
      const host = options.direction === "outbound" && peer === undefined ? (request?.host ?? "") : undefined;
      const port = call.destination.port ?? 0;
      const isUnknown = host !== undefined && !/^[A-Za-z0-9.:[\]-]+$/.test(host);
      const isEndless = request === undefined && options.direction === "outbound" && port === 0;
      const problem = isUnknown
        ? "nothing says whom it was to"
        : isEndless
          ? "nothing says to which port it was"
          : request === undefined
            ? undefined
            : unwritable(request, options.mode);
      if (problem !== undefined) return leave(problem, what);
      ports.add(port);
      const key = host === undefined ? principal : `host ${host}`;
      let caller = callers.get(key);
      if (caller === undefined) {
        if (callers.size >= MAX_CALLERS)
          throw new CountersignError("E_POLICY_SUGGEST_SIZE", `the calls have more than ${MAX_CALLERS} callers`);
        const tunnels = { calls: 0, firstTime: time, lastTime: time, example: "" };
        caller = { principal, host, tunnels, paths: new Map(), httpPorts: new Set(), tcp: new Map() };
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
        const question = request.path.indexOf("?");
        tree.add(request.method, question === -1 ? request.path : request.path.slice(0, question), time);
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
      };
    },
  };
}

/** Why a request cannot be said in a policy exactly: some characters mean more there than themselves. */
function unwritable({ method, path }: AskedRequest, mode: PolicyMode): string | undefined {
  if (method === "CONNECT" && path === "") return undefined;
  if (!/^[A-Za-z0-9!#$%&'+.^_`|~-]+$/.test(method)) return "the method has a character that means more in a policy";
  if (!path.startsWith("/")) return "the path does not begin with a slash";
  if (/[^\x21-\x7e]/.test(path)) return "the path has a character that no request may have";
  if (mode === "strict" && /;|%2f|%5c/i.test(path))
    return "the path has an encoded slash, an encoded backslash or a ; parameter, which strict mode refuses beside a policy that names it";
  if (/[*{}]/.test(path)) return "the path has a character that means more in a policy than itself";
  return undefined;
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
