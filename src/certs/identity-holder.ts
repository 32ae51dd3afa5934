import type { Clock } from "../core/clock.ts";
import { CountersignError, type Warning } from "../core/errors.ts";
import type {
  FederatedBundleStatus,
  IdentitySnapshot,
  IdentitySource,
  IdentityState,
  JwtBundle,
  JwtSvid,
  Svid,
  TrustBundle,
} from "../core/identity.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import type { IdentityLog } from "./identity-log.ts";
import { bundleWarnings } from "./trust-bundle.ts";

/** What a source holds after a good load. */
export interface IdentityMaterial {
  /** The first is the default. */
  readonly svids: readonly [Svid, ...Svid[]];
  readonly bundles: ReadonlyMap<TrustDomain, TrustBundle>;
  /** undefined: the source gives none. */
  readonly jwtBundles?: ReadonlyMap<TrustDomain, JwtBundle> | undefined;
}

/** The state behind an IdentitySource: what every kind of source does in the same way. */
export interface IdentityHolder {
  readonly state: IdentityState;
  subscribe(listener: (state: IdentityState) => void): () => void;
  /** Serves this material. The generation rises only if it differs from what is served. */
  serve(material: IdentityMaterial): void;
  /** Changes a part of what is served, and says nothing of how the source is. */
  amend(part: Pick<IdentityMaterial, "jwtBundles">): void;
  /** The source fails: waiting stays waiting, a snapshot goes stale, a lost identity stays lost. */
  fail(problem: CountersignError): void;
  /** The source says that we have no identity any more. */
  revoke(problem: CountersignError): void;
  close(): void;
}

/** Holds the state, passes on changes, and ends SVIDs exactly at their notAfter by the clock's timer. */
export function createIdentityHolder(clock: Clock, log: IdentityLog): IdentityHolder {
  let state: IdentityState = { kind: "waiting", sinceMs: clock.nowMs(), problem: undefined };
  let generation = 0;
  let lastFailure: string | undefined;
  let cancelExpiry: () => void = () => undefined;
  const listeners = new Set<(state: IdentityState) => void>();

  const change = (next: IdentityState): void => {
    state = next;
    for (const listener of listeners) listener(next);
  };

  const armExpiry = (snapshot: IdentitySnapshot): void => {
    cancelExpiry();
    const earliest = Math.min(...snapshot.svids.map(({ notAfterMs }) => notAfterMs));
    cancelExpiry = clock.after(earliest - clock.nowMs(), expire);
  };

  /** The default SVID's end is ours; another one only leaves the snapshot. */
  const expire = (): void => {
    if (state.kind !== "serving" && state.kind !== "stale") return;
    const { snapshot } = state;
    const nowMs = clock.nowMs();
    const [first, ...others] = snapshot.svids;
    if (nowMs >= first.notAfterMs) {
      const at = new Date(first.notAfterMs).toISOString();
      const because = state.kind === "stale" ? `; ${state.problem.message}` : "";
      lose("expired", new CountersignError("E_IDENTITY_EXPIRED", `${first.spiffeId} expired at ${at}${because}`));
      return;
    }
    const left = others.filter(({ notAfterMs }) => nowMs < notAfterMs);
    if (left.length < others.length)
      change({ ...state, snapshot: { ...snapshot, generation: ++generation, svids: [first, ...left] } });
    armExpiry(state.snapshot);
  };

  const lose = (kind: "revoked" | "expired", problem: CountersignError): void => {
    cancelExpiry();
    report(problem);
    change({ kind, problem });
  };

  const report = (problem: CountersignError): void =>
    log({ level: "error", event: "identity.problem", message: problem.message, fields: { code: problem.code } });

  return {
    get state() {
      return state;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    serve(material) {
      lastFailure = undefined;
      const before = snapshotOf(state);
      if (before !== undefined && isSame(before, material)) {
        if (state.kind === "stale") change({ kind: "serving", snapshot: before });
        return;
      }
      const snapshot: IdentitySnapshot = { generation: ++generation, ...keepKnown(before, material) };
      armExpiry(snapshot);
      reportChange(log, before, snapshot, clock.nowMs());
      change({ kind: "serving", snapshot });
    },
    amend({ jwtBundles }) {
      if (state.kind !== "serving" && state.kind !== "stale") return;
      const { snapshot } = state;
      if (haveSameVersions(snapshot.jwtBundles, jwtBundles)) return;
      change({ ...state, snapshot: { ...snapshot, generation: ++generation, jwtBundles } });
    },
    fail(problem) {
      const failure = `${problem.code} ${problem.message}`;
      if (failure === lastFailure) return;
      lastFailure = failure;
      report(problem);
      switch (state.kind) {
        case "waiting":
          change({ ...state, problem });
          return;
        case "serving":
        case "stale":
          change({ kind: "stale", snapshot: state.snapshot, problem });
          return;
        case "revoked":
        case "expired":
          change({ kind: state.kind, problem: joined(state.problem, problem) });
      }
    },
    revoke(problem) {
      if (state.kind !== "revoked") lose("revoked", problem);
    },
    close() {
      cancelExpiry();
      listeners.clear();
    },
  };
}

/** Why identity was lost stays the first thing said; what the source says now follows. */
function joined(lost: CountersignError, now: CountersignError): CountersignError {
  const [first = ""] = lost.message.split(" (the source now says: ");
  return new CountersignError(lost.code, `${first} (the source now says: ${now.message})`, { cause: now });
}

function snapshotOf(state: IdentityState): IdentitySnapshot | undefined {
  return state.kind === "serving" || state.kind === "stale" ? state.snapshot : undefined;
}

function isSame(snapshot: IdentitySnapshot, material: IdentityMaterial): boolean {
  const sameSvid = (svid: Svid, i: number): boolean => {
    const other = snapshot.svids[i];
    return other !== undefined && isSameSvid(svid, other);
  };
  return (
    snapshot.svids.length === material.svids.length &&
    material.svids.every(sameSvid) &&
    haveSameVersions(snapshot.bundles, material.bundles) &&
    haveSameVersions(snapshot.jwtBundles, material.jwtBundles)
  );
}

type Versions = ReadonlyMap<TrustDomain, { readonly version: string }>;

function haveSameVersions(a: Versions | undefined, b: Versions | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.size === b.size && [...a].every(([domain, { version }]) => b.get(domain)?.version === version);
}

function isSameSvid(a: Svid, b: Svid): boolean {
  return (
    a.fingerprint === b.fingerprint && a.hint === b.hint && a.chainPem === b.chainPem && a.notAfterMs === b.notAfterMs
  );
}

/** Objects that did not change stay the same objects: TLS contexts and bundle indexes hang on them. */
function keepKnown(
  before: IdentitySnapshot | undefined,
  { svids, bundles, jwtBundles }: IdentityMaterial,
): IdentityMaterial {
  if (before === undefined) return { svids, bundles, jwtBundles };
  const known = (svid: Svid): Svid => before.svids.find((other) => isSameSvid(svid, other)) ?? svid;
  const [first, ...others] = svids;
  return {
    svids: [known(first), ...others.map(known)],
    bundles: new Map(
      [...bundles].map(([domain, bundle]) => {
        const other = before.bundles.get(domain);
        return [domain, other?.version === bundle.version ? other : bundle];
      }),
    ),
    jwtBundles,
  };
}

function reportChange(
  log: IdentityLog,
  before: IdentitySnapshot | undefined,
  after: IdentitySnapshot,
  nowMs: number,
): void {
  const [svid] = after.svids;
  const isSame = before?.svids[0].fingerprint === svid.fingerprint;
  const event = before === undefined ? "identity.loaded" : isSame ? "identity.bundles" : "identity.rotated";
  const message = {
    "identity.loaded": "SVID loaded",
    "identity.bundles": "trust bundles or further SVIDs changed",
    "identity.rotated": "SVID rotated",
  }[event];
  log({
    level: "info",
    event,
    message,
    fields: {
      spiffeId: svid.spiffeId,
      serial: svid.serial,
      notAfter: new Date(svid.notAfterMs).toISOString(),
      generation: after.generation,
    },
  });
  for (const [domain, bundle] of after.bundles) {
    if (before?.bundles.get(domain)?.version === bundle.version) continue;
    for (const warning of bundleWarnings(bundle, nowMs)) logWarning(log, warning);
  }
}

export function logWarning(log: IdentityLog, { code, message }: Warning): void {
  log({ level: "warn", event: "identity.warning", message, fields: { code } });
}

/** What some kinds of source have besides. */
export interface SourceExtras {
  readonly federation?: () => readonly FederatedBundleStatus[];
  readonly fetchJwtSvid?: (audience: string, hint: string) => Promise<JwtSvid>;
}

/** The face of a source over its holder. */
export function sourceOf(
  description: string,
  holder: IdentityHolder,
  close: () => void,
  { federation, fetchJwtSvid }: SourceExtras = {},
): IdentitySource {
  return {
    description,
    get state() {
      return holder.state;
    },
    get federation() {
      return federation?.();
    },
    ...(fetchJwtSvid === undefined ? {} : { fetchJwtSvid }),
    subscribe: (listener) => holder.subscribe(listener),
    close() {
      close();
      holder.close();
    },
  };
}
