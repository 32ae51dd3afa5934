import type { EndpointLoad } from "./endpoint-load.ts";

/** One address of an upstream, as status and metrics show it. */
export interface EndpointStatus {
  /** As audit records name it. */
  readonly address: string;
  /** What it was found by; absent where the configuration has the address itself. */
  readonly name?: string;
  readonly state: "unused" | "healthy" | "failing" | "ejected";
  /** Until it gets calls again. */
  readonly ejectedForMs?: number;
  /** Kept for calls. */
  readonly connections: number;
  /** Calls that are open or wait for a connection. */
  readonly active: number;
  /** Decaying average of the time to the response's head; absent before the first. */
  readonly latencyMs?: number;
  /** Since it is known. */
  readonly failures: number;
  readonly ejections: number;
}

/** An upstream as status and metrics show it. */
export interface UpstreamStatus {
  readonly endpoints: readonly EndpointStatus[];
  /** Open, and being made; TCP's own too. */
  readonly connections: number;
  /** Calls, tunnels and TCP connections. */
  readonly active: number;
  /** Calls that wait for a connection. */
  readonly pending: number;
  /** Calls turned away at a limit, since the start. */
  readonly limited: number;
  /** Of an egress proxy, whose destinations callers name: of `endpoints` it has the most notable ones only. */
  readonly destinations?: DestinationsStatus;
  /** Names that could not be resolved the last time. */
  readonly problems: readonly { readonly code: string; readonly message: string }[];
}

/** Addresses of an egress proxy's destinations that status shows. */
export const MOST_SHOWN = 50;

/** What an egress proxy knows of all its destinations' addresses together. */
export interface DestinationsStatus {
  /** Addresses that are known now; a bounded number. */
  readonly known: number;
  readonly ejected: number;
  /** Since the start, of those that are forgotten too. */
  readonly failures: number;
  readonly ejections: number;
}

/** `name`: what it was found by; `connections`: kept for calls; `nowMs` is monotonic. */
export function endpointStatus(
  load: EndpointLoad,
  name: string | undefined,
  connections: number,
  nowMs: number,
): EndpointStatus {
  const latencyMs = load.latencyMs(nowMs);
  const leftMs = Math.max(0, load.ejectedUntilMs - nowMs);
  return {
    address: load.address,
    ...(name === undefined ? {} : { name }),
    state: leftMs > 0 ? "ejected" : load.failuresInRow > 0 ? "failing" : load.answers > 0 ? "healthy" : "unused",
    ...(leftMs > 0 ? { ejectedForMs: Math.round(leftMs) } : {}),
    connections,
    active: load.outstanding,
    ...(latencyMs === undefined ? {} : { latencyMs: Math.round(latencyMs * 100) / 100 }),
    failures: load.failures,
    ejections: load.totalEjections,
  };
}
