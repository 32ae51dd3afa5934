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
  /** Names that could not be resolved the last time. */
  readonly problems: readonly { readonly code: string; readonly message: string }[];
}
