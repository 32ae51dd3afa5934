import type { Evidence, PathPattern, PathTree } from "./path-tree.ts";

/** One `operation` with the evidence for it. */
export interface SuggestedOperation {
  readonly kind: "read" | "write" | "tunnel" | "tcp";
  readonly methods: readonly string[];
  readonly paths: readonly string[];
  readonly notPaths: readonly string[];
  /** undefined: the only port there is, or the one that the host names. */
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

/** What one caller was seen to do. */
export interface SeenCaller {
  readonly principal: string;
  readonly host: string | undefined;
  /** Of a host whose authority names none. */
  readonly port: number | undefined;
  /** Tunnels that were asked for. */
  readonly tunnels: Evidence;
  /** By port; outbound in one, since a policy's paths are of whoever answers. */
  readonly paths: Map<number, PathTree>;
  readonly httpPorts: Set<number>;
  readonly tcp: Map<number, Evidence>;
}

const READING: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** Nothing of a policy is about TCP alone: where HTTP was seen on the same port too, a rule for the connections would allow more than was done. */
export function tcpBesideHttp(
  callers: readonly SeenCaller[],
  direction: "inbound" | "outbound",
  namePorts: boolean,
): { readonly calls: number; readonly evidence: ReadonlySet<Evidence> } {
  const all = new Set(callers.flatMap(({ httpPorts }) => [...httpPorts]));
  const evidence = new Set<Evidence>();
  let calls = 0;
  for (const { httpPorts, tcp } of callers)
    for (const [port, seen] of tcp) {
      const carriesHttp = direction === "outbound" ? httpPorts.has(port) : all.has(port);
      // An app on a Unix socket has no port that a rule could name.
      if (!carriesHttp && (port !== 0 || !namePorts)) continue;
      evidence.add(seen);
      calls += seen.calls;
    }
  return { calls, evidence };
}

/** What one caller did, and what of it goes into one rule. */
interface Part {
  readonly caller: SeenCaller;
  readonly operations: readonly SuggestedOperation[];
}

/** On TCP an ALLOW rule that looks at HTTP is passed over whole, so connections have a rule of their own. */
export function partsOf(
  callers: readonly SeenCaller[],
  without: ReadonlySet<Evidence>,
  namePorts: boolean,
): readonly Part[] {
  return callers
    .toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
    .flatMap((caller) => [
      { caller, operations: requestsOf(caller, namePorts) },
      { caller, operations: connectionsOf(caller, without) },
    ])
    .filter(({ operations }) => operations.length > 0);
}

/** Callers whose operations are the same share a rule. */
export function groupCallers(parts: readonly Part[]): readonly SuggestedRule[] {
  const groups = new Map<string, { callers: SuggestedCaller[]; operations: SuggestedOperation[] }>();
  for (const { caller, operations } of parts) {
    const key = JSON.stringify([
      caller.principal === "",
      caller.host === undefined,
      operations.map(({ kind, methods, paths, notPaths, port }) => [kind, methods, paths, notPaths, port]),
    ]);
    const evidence = operations.flatMap((operation) => operation.evidence);
    const shown = {
      principal: caller.principal,
      host: caller.host,
      calls: evidence.reduce((sum, { calls }) => sum + calls, 0),
      lastTime: evidence.reduce((last, { lastTime }) => (lastTime > last ? lastTime : last), ""),
    };
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { callers: [shown], operations: [...operations] });
    else {
      group.callers.push(shown);
      group.operations = group.operations.map((known, i) => addEvidence(known, operations[i]?.evidence ?? []));
    }
  }
  return [...groups.values()];
}

function nameOf({ principal, host }: SeenCaller): string {
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

function requestsOf(caller: SeenCaller, namePorts: boolean): readonly SuggestedOperation[] {
  const operations: SuggestedOperation[] = [];
  const { tunnels } = caller;
  if (tunnels.calls > 0) {
    const evidence = [{ method: "CONNECT", path: "", ...tunnels }];
    operations.push({ kind: "tunnel", methods: ["CONNECT"], paths: [], notPaths: [], port: caller.port, evidence });
  }
  for (const [port, tree] of [...caller.paths].toSorted(([a], [b]) => a - b)) {
    const patterns = tree.patterns();
    const named = namePorts ? port : caller.port;
    operations.push(...httpOperations(patterns, "read", named), ...httpOperations(patterns, "write", named));
  }
  return operations;
}

function connectionsOf(caller: SeenCaller, without: ReadonlySet<Evidence>): readonly SuggestedOperation[] {
  return [...caller.tcp]
    .filter(([, seen]) => !without.has(seen))
    .toSorted(([a], [b]) => a - b)
    .map(([port, { calls, lastTime }]) => {
      const evidence = [{ method: "", path: "", calls, lastTime, example: "" }];
      return { kind: "tcp", methods: [], paths: [], notPaths: [], port, evidence };
    });
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
