import type { PolicyMode } from "../authz/policy-options.ts";
import { CountersignError } from "../core/errors.ts";
import { principalOf } from "../core/spiffe-id.ts";
import type { AskedRequest } from "./asked-call.ts";
import type { AuditedCall } from "./audited-call.ts";
import { type Evidence, type PathPattern, type PathTree, pathTree } from "./path-tree.ts";

export interface SuggestOptions {
  /** Of calls to us, the usual case, or of our own to others. */
  readonly direction: "inbound" | "outbound";
  /** strict refuses a path with an encoded slash or a parameter once a policy names it. */
  readonly mode: PolicyMode;
  readonly idsForTemplate: number;
  readonly namesForTemplate: number;
}

/** One `operation` with the evidence for it. */
export interface SuggestedOperation {
  readonly kind: "read" | "write" | "tunnel" | "tcp";
  readonly methods: readonly string[];
  readonly paths: readonly string[];
  readonly notPaths: readonly string[];
  /** undefined: the only port there is. */
  readonly port: number | undefined;
  readonly evidence: readonly PathEvidence[];
}

export interface PathEvidence {
  readonly method: string;
  readonly path: string;
  readonly calls: number;
  readonly lastTime: string;
  readonly example: string;
}

export interface SuggestedCaller {
  /** Without scheme; "" without identity. */
  readonly principal: string;
  /** Outbound, to a server without identity: the authority that was called. */
  readonly host: string | undefined;
  readonly calls: number;
  readonly lastTime: string;
}

/** Callers that did the same things. Inbound: who called us; outbound: whom we called. */
export interface SuggestedRule {
  readonly callers: readonly SuggestedCaller[];
  readonly operations: readonly SuggestedOperation[];
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

interface Caller {
  readonly principal: string;
  readonly host: string | undefined;
  /** Tunnels that were asked for. */
  readonly tunnels: Evidence;
  calls: number;
  lastTime: string;
  readonly paths: Map<number, PathTree>;
  readonly tcp: Map<number, Evidence>;
}

const MAX_NODES = 500_000;
const MAX_CALLERS = 20_000;
const READING: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** Makes least-privilege rules of the calls that were allowed. Memory grows with how different the calls are, not with their number, and is
 *  bounded: beyond that CountersignError E_POLICY_SUGGEST_SIZE. */
export function createSuggester(options: SuggestOptions): Suggester {
  const budget = { nodes: MAX_NODES };
  const callers = new Map<string, Caller>();
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
      const problem =
        host !== undefined && !/^[A-Za-z0-9.:[\]-]+$/.test(host)
          ? "nothing says whom it was to"
          : request === undefined
            ? undefined
            : unwritable(request, options.mode);
      if (problem !== undefined) return leave(problem, what);
      const port = call.destination.port ?? 0;
      ports.add(port);
      const key = host === undefined ? principal : `host ${host}`;
      let caller = callers.get(key);
      if (caller === undefined) {
        if (callers.size >= MAX_CALLERS)
          throw new CountersignError("E_POLICY_SUGGEST_SIZE", `the calls have more than ${MAX_CALLERS} callers`);
        const tunnels = { calls: 0, firstTime: time, lastTime: time, example: "" };
        caller = { principal, host, tunnels, calls: 0, lastTime: "", paths: new Map(), tcp: new Map() };
        callers.set(key, caller);
      }
      if (calls === 0 || time < firstTime) firstTime = time;
      if (time > lastTime) lastTime = time;
      calls++;
      caller.calls++;
      if (time > caller.lastTime) caller.lastTime = time;
      if (request === undefined) addTcp(caller, port, time);
      else if (isTunnel(request)) {
        caller.tunnels.calls++;
        if (time > caller.tunnels.lastTime) caller.tunnels.lastTime = time;
      } else {
        let tree = caller.paths.get(port);
        if (tree === undefined) {
          tree = pathTree({ ...options, budget });
          caller.paths.set(port, tree);
        }
        const question = request.path.indexOf("?");
        tree.add(request.method, question === -1 ? request.path : request.path.slice(0, question), time);
      }
    },
    suggest: () => ({
      rules: groupCallers([...callers.values()], ports.size > 1),
      calls,
      firstTime,
      lastTime,
      leftOut: [...leftOut].map(([why, { calls: count, example }]) => ({ why, calls: count, example })),
    }),
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

function addTcp(caller: Caller, port: number, time: string): void {
  const known = caller.tcp.get(port);
  if (known === undefined) caller.tcp.set(port, { calls: 1, firstTime: time, lastTime: time, example: "" });
  else {
    known.calls++;
    if (time > known.lastTime) known.lastTime = time;
  }
}

/** Callers whose operations are the same share a rule. */
function groupCallers(callers: readonly Caller[], namePorts: boolean): readonly SuggestedRule[] {
  const groups = new Map<string, { callers: Caller[]; operations: SuggestedOperation[] }>();
  for (const caller of callers.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))) {
    const operations = operationsOf(caller, namePorts);
    const key = JSON.stringify([
      caller.principal === "",
      caller.host === undefined,
      operations.map(({ methods, paths, notPaths, port }) => [methods, paths, notPaths, port]),
    ]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { callers: [caller], operations: [...operations] });
    else {
      group.callers.push(caller);
      group.operations = group.operations.map((known, i) => addEvidence(known, operations[i]?.evidence ?? []));
    }
  }
  return [...groups.values()];
}

function nameOf({ principal, host }: Caller): string {
  return host ?? principal;
}

function addEvidence(known: SuggestedOperation, more: readonly PathEvidence[]): SuggestedOperation {
  const evidence = known.evidence.map((seen) => {
    const other = more.find(({ method, path }) => method === seen.method && path === seen.path);
    if (other === undefined) return seen;
    const lastTime = other.lastTime > seen.lastTime ? other.lastTime : seen.lastTime;
    return { ...seen, calls: seen.calls + other.calls, lastTime };
  });
  return { ...known, evidence };
}

function operationsOf(caller: Caller, namePorts: boolean): readonly SuggestedOperation[] {
  const operations: SuggestedOperation[] = [];
  const { tunnels } = caller;
  if (tunnels.calls > 0) {
    const evidence = [{ method: "CONNECT", path: "", ...tunnels }];
    operations.push({ kind: "tunnel", methods: ["CONNECT"], paths: [], notPaths: [], port: undefined, evidence });
  }
  for (const [port, tree] of [...caller.paths].toSorted(([a], [b]) => a - b)) {
    const patterns = tree.patterns();
    const named = namePorts ? port : undefined;
    operations.push(...httpOperations(patterns, "read", named), ...httpOperations(patterns, "write", named));
  }
  for (const [port, { calls, lastTime }] of [...caller.tcp].toSorted(([a], [b]) => a - b)) {
    const evidence = [{ method: "", path: "", calls, lastTime, example: "" }];
    operations.push({ kind: "tcp", methods: [], paths: [], notPaths: [], port, evidence });
  }
  return operations;
}

/** Paths with the same methods share an operation, so that it allows no pair that was not seen. A template that must leave something out has
 *  an operation of its own, since `notPaths` is about all of its paths. */
function httpOperations(
  patterns: readonly PathPattern[],
  kind: "read" | "write",
  port: number | undefined,
): readonly SuggestedOperation[] {
  const known = new Map(patterns.map((pattern) => [pattern.path, pattern]));
  const shared = new Map<string, SuggestedOperation[]>();
  for (const { path, methods: seen, except } of patterns) {
    const methods = [...seen.keys()].filter((method) => READING.has(method) === (kind === "read")).toSorted();
    if (methods.length === 0) continue;
    const notPaths = except.filter((other) => {
      const apart = known.get(other);
      return apart === undefined || !methods.every((method) => apart.methods.has(method));
    });
    const evidence = methods.flatMap((method) => {
      const found = seen.get(method);
      if (found === undefined) return [];
      const { calls, lastTime, example } = found;
      return [{ method, path, calls, lastTime, example }];
    });
    const operation = { kind, methods, paths: [path], notPaths, port, evidence };
    const key = notPaths.length > 0 ? `alone ${path}` : methods.join(" ");
    shared.set(key, [...(shared.get(key) ?? []), operation]);
  }
  return [...shared.values()].flatMap((operations) => {
    const [first] = operations;
    if (first === undefined) return [];
    const paths = operations.flatMap((operation) => operation.paths);
    return [{ ...first, paths, evidence: operations.flatMap((operation) => operation.evidence) }];
  });
}
