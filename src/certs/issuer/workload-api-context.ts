import type { Clock } from "../../core/clock.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import type { TokenBuckets } from "../../sys/token-buckets.ts";
import type { FederatedBundle } from "../federation/federated-bundle.ts";
import type { Authorities } from "./authorities.ts";
import type { Entry } from "./entries.ts";
import type { IssuerAudit } from "./issuer-audit.ts";
import type { IssuerLog } from "./issuer-log.ts";
import type { X509Svids } from "./x509-svids.ts";

/** What all connections share. */
export interface WorkloadApiContext {
  readonly clock: Clock;
  readonly log: IssuerLog;
  readonly audit: IssuerAudit;
  readonly authorities: Authorities;
  readonly svids: X509Svids;
  /** The entries now: a reload swaps them. */
  readonly entries: () => readonly Entry[];
  /** Bundles of the trust domains that the issuer federates with, now. */
  readonly federated: () => ReadonlyMap<TrustDomain, FederatedBundle>;
  readonly jwt: () => { readonly ttlMs: number; readonly issuer: string | undefined };
  /** Told after each change of entries, authorities or federated bundles. */
  readonly subscribe: (listener: () => void) => () => void;
  /** Calls that a uid may begin, and refusals of it that are logged. */
  readonly callBudget: TokenBuckets;
  readonly refusalLogBudget: TokenBuckets;
}
