import type { Clock } from "../../core/clock.ts";
import { asCountersignError } from "../../core/errors.ts";
import type { FederationPartner } from "../../core/federation.ts";
import type { FederatedBundleStatus, TrustBundle } from "../../core/identity.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import type { IdentityLog } from "../identity-log.ts";
import { type BundleStore, openBundleStore } from "./bundle-store.ts";
import type { FederatedBundle } from "./federated-bundle.ts";
import { type Followed, followPartner } from "./follow-partner.ts";

export interface FederationClientOptions {
  readonly partners: readonly FederationPartner[];
  /** Where last good bundles are kept over restarts; undefined: nowhere. */
  readonly stateFolder: string | undefined;
  /** Bundles of domains that are not partners: our own, for an endpoint that has an identity of ours. */
  readonly bundleOf?: ((trustDomain: TrustDomain) => TrustBundle | undefined) | undefined;
  readonly clock: Clock;
  readonly log: IdentityLog;
}

/** Holds partners' trust bundles and keeps them fresh (SPIFFE Federation). */
export interface FederationClient {
  /** Those that are known: fetched, kept from before, or bootstrap. A partner whose bundle is empty has revoked itself. */
  readonly bundles: ReadonlyMap<TrustDomain, FederatedBundle>;
  readonly status: readonly FederatedBundleStatus[];
  /** Called when a bundle came, changed or went. Returns the unsubscribe function. */
  subscribe(listener: () => void): () => void;
  /** Replaces the list of partners: those that did not change go on as they are. */
  setPartners(partners: readonly FederationPartner[]): void;
  close(): void;
}

/** Starts to follow all partners at once. Never throws for what a partner or a file says: that is in `status`. */
export function createFederationClient(options: FederationClientOptions): FederationClient {
  const { clock, log, stateFolder } = options;
  const store: BundleStore | undefined = stateFolder === undefined ? undefined : openBundleStore(stateFolder);
  const followed = new Map<TrustDomain, { readonly key: string; readonly partner: Followed }>();
  const listeners = new Set<() => void>();
  const tell = (): void => {
    for (const listener of listeners) {
      try {
        listener();
      } catch (error) {
        const { code, message } = asCountersignError(
          error,
          "E_FEDERATION_STATE",
          "a new bundle could not be put to use",
        );
        log({ level: "error", event: "federation.problem", message, fields: { code } });
      }
    }
  };
  const bundleOf = (trustDomain: TrustDomain): TrustBundle | undefined =>
    followed.get(trustDomain)?.partner.bundle?.trustBundle ?? options.bundleOf?.(trustDomain);

  const setPartners = (partners: readonly FederationPartner[]): void => {
    const wanted = new Map(partners.map((partner) => [partner.trustDomain, partner]));
    let isChanged = false;
    for (const [trustDomain, { key, partner }] of followed) {
      const next = wanted.get(trustDomain);
      if (next !== undefined && keyOf(next) === key) continue;
      partner.close();
      followed.delete(trustDomain);
      isChanged = true;
    }
    for (const [trustDomain, partner] of wanted) {
      if (followed.has(trustDomain)) continue;
      const deps = { clock, log, store, bundleOf, onChange: tell };
      followed.set(trustDomain, { key: keyOf(partner), partner: followPartner(partner, deps) });
      isChanged = true;
    }
    if (isChanged) tell();
  };
  setPartners(options.partners);

  return {
    get bundles() {
      const found = new Map<TrustDomain, FederatedBundle>();
      for (const [trustDomain, { partner }] of followed)
        if (partner.bundle !== undefined) found.set(trustDomain, partner.bundle);
      return found;
    },
    get status() {
      return Array.from(followed.values(), ({ partner }) => partner.status);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    setPartners,
    close() {
      for (const { partner } of followed.values()) partner.close();
      followed.clear();
      listeners.clear();
    },
  };
}

function keyOf({ url, profile, bootstrap }: FederationPartner): string {
  return JSON.stringify([url, profile, bootstrap]);
}
