import type { Clock } from "../../core/clock.ts";
import type { TokenBuckets } from "../../sys/token-buckets.ts";
import type { Authorities } from "./authorities.ts";
import type { Entry } from "./entries.ts";
import type { IssuerLog } from "./issuer-log.ts";
import type { X509Svids } from "./x509-svids.ts";

/** What all connections share. */
export interface WorkloadApiContext {
  readonly clock: Clock;
  readonly log: IssuerLog;
  readonly authorities: Authorities;
  readonly svids: X509Svids;
  /** The entries now: a reload swaps them. */
  readonly entries: () => readonly Entry[];
  readonly jwtTtlMs: () => number;
  /** Told after each change of entries or authorities. */
  readonly subscribe: (listener: () => void) => () => void;
  /** Calls that a uid may begin, and refusals of it that are logged. */
  readonly callBudget: TokenBuckets;
  readonly refusalLogBudget: TokenBuckets;
}
