import type { AuditState } from "../audit/audit-log.ts";
import type { PolicySourceState } from "../config/policy-set-source.ts";
import { CountersignError, type CountersignErrors } from "../core/errors.ts";
import type { IdentitySource } from "../core/identity.ts";
import { problemOf, type StatusIdentity, type StatusProblem, statusIdentity } from "./status-identity.ts";

/** Where policies come from that do not lie in files. */
export interface StatusPolicySource {
  readonly name: string;
  /** When the server last said that what is in force is the newest. */
  readonly confirmedAt: string;
  readonly ageSeconds: number;
  /** Of what is in force, if it is signed. */
  readonly version?: number | undefined;
  /** The first 16 hexadecimal digits of the SHA-256 of what is in force. */
  readonly digest: string;
  /** What the source has and is not in force, with the reason; absent: the newest is. */
  readonly newest?:
    | {
        readonly version?: number | undefined;
        readonly digest: string;
        /** Empty: it is about to be tried. */
        readonly problems: readonly StatusProblem[];
      }
    | undefined;
  /** Why nothing newer can be had, or what there is is too old. */
  readonly problem?: StatusProblem | undefined;
  /** Why it is not kept for the next start, or what was kept was not used. */
  readonly keepProblem?: StatusProblem | undefined;
}

export interface StatusListener {
  readonly name: string;
  readonly direction: "inbound" | "outbound";
  /** As bound. */
  readonly address: string;
  /** The app (inbound) or where calls go (outbound). */
  readonly target: string;
  readonly protocol: string;
  readonly connections: number;
  readonly upstreamConnections: number;
  readonly upstream?: StatusUpstream | undefined;
}

/** Where a listener's calls go, address by address. */
export interface StatusUpstream {
  readonly endpoints: readonly {
    readonly address: string;
    /** What it was found by. */
    readonly name?: string;
    readonly state: "unused" | "healthy" | "failing" | "ejected";
    readonly ejectedForMs?: number;
    readonly connections: number;
    readonly active: number;
    readonly latencyMs?: number;
    readonly failures: number;
    readonly ejections: number;
  }[];
  readonly connections: number;
  readonly active: number;
  readonly pending: number;
  /** Calls turned away at a limit. */
  readonly limited: number;
  /** Of an egress proxy: all its destinations' addresses together; `endpoints` has the 50 most notable. */
  readonly destinations?: {
    readonly known: number;
    readonly ejected: number;
    readonly failures: number;
    readonly ejections: number;
  };
  /** Names that could not be resolved the last time. */
  readonly problems: readonly StatusProblem[];
}

/** What `GET /status` answers and `countersign status --json` prints. Times are RFC 3339 in UTC. */
export interface StatusDocument {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly uptimeSeconds: number;
  readonly ready: boolean;
  /** Why it is not ready; empty when it is. */
  readonly reasons: readonly StatusProblem[];
  readonly identity: StatusIdentity;
  readonly listeners: readonly StatusListener[];
  readonly policy?:
    | {
        readonly version: string;
        readonly loadedAt: string;
        readonly policies: number;
        readonly rules: number;
        /** Of every source but files; absent: there is none. */
        readonly sources?: readonly StatusPolicySource[] | undefined;
      }
    | undefined;
  /** Where the keys of RequestAuthentication documents come from; absent: none are fetched. */
  readonly keySources?: readonly StatusKeySource[] | undefined;
  /** Who is asked about calls that CUSTOM policies name; absent: nobody. */
  readonly providers?: readonly StatusProvider[] | undefined;
  /** Why the newest configuration or policies are not in force. */
  readonly reloadProblems: readonly StatusProblem[];
  readonly audit: AuditState;
  /** The threads that carry the traffic; absent: the main one does. */
  readonly workers?: readonly StatusWorker[] | undefined;
}

/** One worker thread's part. */
export interface StatusWorker {
  /** From 1. */
  readonly worker: number;
  /** False: what follows is what it last said. */
  readonly answering: boolean;
  readonly connections: number;
  /** Open now. */
  readonly calls: number;
  /** Since the start. */
  readonly callsEnded: number;
  readonly policyVersion: string;
  readonly identity: StatusIdentity["state"];
}

export interface StatusKeySource {
  /** URL of the keys, or the issuer that is asked for it. */
  readonly from: string;
  readonly keys: number;
  /** Absent: never fetched yet. */
  readonly loadedAt?: string | undefined;
  readonly ageSeconds?: number | undefined;
  /** Why the newest fetch failed. */
  readonly problem?: StatusProblem | undefined;
}

export interface StatusProvider {
  readonly name: string;
  readonly allowed: number;
  readonly denied: number;
  readonly failed: number;
}

/** What the running sidecar knows, gathered by whoever wires it together. */
export interface StatusInput {
  readonly version: string;
  readonly startedMs: number;
  readonly nowMs: number;
  /** All listeners are open. */
  readonly started: boolean;
  readonly draining: boolean;
  readonly identity: Pick<IdentitySource, "description" | "state" | "pending" | "federation">;
  /** Hints that listeners ask for, each with the name of one. */
  readonly wantedHints?: ReadonlyMap<string, string>;
  readonly listeners: readonly StatusListener[];
  readonly policy:
    | {
        readonly version: string;
        readonly loadedAtMs: number;
        readonly policies: number;
        readonly rules: number;
        readonly sources?: readonly PolicySourceState[];
      }
    | undefined;
  readonly keySources?: readonly {
    readonly from: string;
    readonly keys: number;
    readonly loadedAtMs: number | undefined;
    readonly problem: CountersignError | undefined;
  }[];
  readonly providers?: readonly StatusProvider[];
  /** The failure of the last reload, or undefined when it worked. */
  readonly reloadError: CountersignError | CountersignErrors | undefined;
  readonly audit: AuditState;
  /** What else keeps it from serving. */
  readonly problems?: readonly CountersignError[];
  readonly workers?: readonly StatusWorker[] | undefined;
}

function policySources(sources: readonly PolicySourceState[], nowMs: number): StatusPolicySource[] | undefined {
  if (sources.length === 0) return undefined;
  const maybe = (problem: CountersignError | undefined): StatusProblem | undefined =>
    problem === undefined ? undefined : problemOf(problem);
  return sources.map(({ name, confirmedAtMs, version, digest, newest, problem, keepProblem }) => ({
    name,
    confirmedAt: new Date(confirmedAtMs).toISOString(),
    ageSeconds: Math.max(0, Math.floor((nowMs - confirmedAtMs) / 1000)),
    version,
    digest,
    newest: newest && {
      version: newest.version,
      digest: newest.digest,
      problems: (newest.refused?.errors ?? []).map(problemOf),
    },
    problem: maybe(problem),
    keepProblem: maybe(keepProblem),
  }));
}

function keySources(sources: StatusInput["keySources"], nowMs: number): StatusKeySource[] | undefined {
  if (sources === undefined || sources.length === 0) return undefined;
  return sources.map(({ from, keys, loadedAtMs, problem }) => ({
    from,
    keys,
    ...(loadedAtMs === undefined
      ? {}
      : {
          loadedAt: new Date(loadedAtMs).toISOString(),
          ageSeconds: Math.max(0, Math.floor((nowMs - loadedAtMs) / 1000)),
        }),
    problem: problem === undefined ? undefined : problemOf(problem),
  }));
}

/** Why the sidecar can't serve calls now; empty: it is ready. A reload that failed is no reason: the last good one serves. */
export function notReadyReasons(input: Omit<StatusInput, "version">): StatusProblem[] {
  const reasons: StatusProblem[] = [];
  if (input.draining) reasons.push({ code: "E_DRAINING", message: "the sidecar is stopping" });
  if (!input.started) reasons.push({ code: "E_STARTING", message: "the listeners are not open yet" });
  reasons.push(...(input.problems ?? []).map(problemOf));
  const { state } = input.identity;
  switch (state.kind) {
    case "waiting":
      reasons.push(
        state.problem === undefined
          ? { code: "E_IDENTITY_NONE", message: `no SVID yet from ${input.identity.description}` }
          : problemOf(state.problem),
      );
      break;
    case "revoked":
    case "expired":
      reasons.push(problemOf(state.problem));
      break;
    case "serving":
    case "stale":
      for (const [hint, listener] of input.wantedHints ?? [])
        if (!state.snapshot.svids.some((svid) => svid.hint === hint))
          reasons.push({
            code: "E_IDENTITY_HINT",
            message: `listener ${listener} wants the SVID with the hint ${JSON.stringify(hint)}, and there is none`,
          });
  }
  const { audit } = input;
  if (audit.onFailure === "block" && audit.problem !== undefined)
    reasons.push({ code: "E_AUDIT_UNAVAILABLE", message: audit.problem });
  return reasons;
}

export function statusDocument(input: StatusInput): StatusDocument {
  const { identity, policy, reloadError } = input;
  const reasons = notReadyReasons(input);
  return {
    version: input.version,
    pid: process.pid,
    startedAt: new Date(input.startedMs).toISOString(),
    uptimeSeconds: Math.max(0, Math.floor((input.nowMs - input.startedMs) / 1000)),
    ready: reasons.length === 0,
    reasons,
    identity: statusIdentity(identity),
    listeners: input.listeners,
    policy:
      policy === undefined
        ? undefined
        : {
            version: policy.version,
            loadedAt: new Date(policy.loadedAtMs).toISOString(),
            policies: policy.policies,
            rules: policy.rules,
            sources: policySources(policy.sources ?? [], input.nowMs),
          },
    keySources: keySources(input.keySources, input.nowMs),
    providers: input.providers === undefined || input.providers.length === 0 ? undefined : input.providers,
    reloadProblems:
      reloadError === undefined
        ? []
        : (reloadError instanceof CountersignError ? [reloadError] : reloadError.errors).map(problemOf),
    audit: input.audit,
    workers: input.workers,
  };
}
