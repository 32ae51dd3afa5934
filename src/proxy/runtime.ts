import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { JwtSvidKeeper } from "../certs/jwt-svid/jwt-svid-keeper.ts";
import type { JwtSvidVerifier } from "../certs/jwt-svid/jwt-svid-verifier.ts";
import type { PeerVerifier } from "../certs/peer-verifier.ts";
import type { LimitsConfig, TimeoutsConfig } from "../config/sidecar-config.ts";
import type { AuditLog } from "../core/audit-log.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { CidrSet } from "../core/cidr-set.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentitySnapshot, IdentityState, Svid } from "../core/identity.ts";
import type { Deadlines } from "./deadlines.ts";
import type { AuthorizationProvider } from "./ext-authz/provider.ts";
import type { TokenRules } from "./request-auth/token-rules.ts";

/** The operational log as the proxy uses it; pino fits. */
export interface ProxyLog {
  info(fields: object, message?: string): void;
  warn(fields: object, message?: string): void;
}

/** What metrics want to hear. */
export interface CallRecorder {
  recordCall(outcome: CallOutcome): void;
  connectionOpened(direction: "inbound" | "outbound", listener: string): void;
  connectionClosed(direction: "inbound" | "outbound", listener: string): void;
}

/** Policy in force: swapped whole, so that a call sees either the old set or the new one. */
export interface PolicyInForce {
  readonly policy: CompiledPolicy;
  /** Peers whose x-forwarded-for is believed. */
  readonly trustedProxies: CidrSet;
  /** What RequestAuthentication asks of tokens; undefined: nothing. */
  readonly tokens: TokenRules | undefined;
  /** Who can be asked about calls, by name. */
  readonly providers: ReadonlyMap<string, AuthorizationProvider>;
}

/** What every connection of a sidecar shares. The mutable fields are swapped whole by the sidecar, never edited. */
export interface Runtime {
  readonly deadlines: Deadlines;
  readonly audit: AuditLog;
  readonly recorder: CallRecorder;
  readonly log: ProxyLog;
  /** verifyPeerChain with a memory of what it has proven. */
  readonly verifyPeer: PeerVerifier;
  /** verifyJwtSvid with a memory of what it has proven. */
  readonly verifyJwtSvid: JwtSvidVerifier;
  /** Our own JWT-SVIDs, for outbound calls. */
  readonly jwtSvids: Pick<JwtSvidKeeper, "current">;
  inForce: PolicyInForce;
  identity: IdentityState;
  limits: LimitsConfig;
  timeouts: TimeoutsConfig;
  draining: boolean;
  /** Why new calls are turned away; undefined: they are taken. Connections beyond the listener's limit see a runtime of their own. */
  overload: CountersignError | undefined;
}

/** Our SVID for a new connection now, or why there is none. `hint` "": the default one. */
export function currentSvid(
  runtime: Runtime,
  hint: string,
): { readonly svid: Svid; readonly snapshot: IdentitySnapshot } | CountersignError {
  const { identity } = runtime;
  switch (identity.kind) {
    case "waiting":
      return new CountersignError("E_IDENTITY_NONE", identity.problem?.message ?? "no SVID has been received yet");
    case "revoked":
    case "expired":
      return identity.problem;
    case "serving":
    case "stale": {
      const { snapshot } = identity;
      const svid = hint === "" ? snapshot.svids[0] : snapshot.svids.find((one) => one.hint === hint);
      if (svid === undefined) {
        return new CountersignError("E_IDENTITY_HINT", `no SVID has the hint ${JSON.stringify(hint)}`);
      }
      // the source reports expiry by a timer; the clock outranks it
      if (svid.notAfterMs <= Date.now()) {
        return new CountersignError("E_IDENTITY_EXPIRED", `our SVID ${svid.spiffeId} has expired`);
      }
      return { svid, snapshot };
    }
  }
}
