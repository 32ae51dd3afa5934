import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { asCountersignError, CountersignError } from "../../core/errors.ts";
import type { FederationPartner } from "../../core/federation.ts";
import type { FederatedBundleStatus, TrustBundle } from "../../core/identity.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { type FederatedBundle, parseBundle } from "../federation/federated-bundle.ts";
import { createFederationClient } from "../federation/federation-client.ts";
import { replaceFile } from "../replace-file.ts";
import { readGuardedFile } from "./guarded-file.ts";
import type { IssuerLog } from "./issuer-log.ts";

/** A bundle of another trust domain and where it comes from. */
export type ListedBundle =
  | {
      readonly source: "endpoint";
      readonly bundle: FederatedBundle | undefined;
      readonly status: FederatedBundleStatus;
    }
  | { readonly source: "set"; readonly bundle: FederatedBundle; readonly setAtMs: number };

/** Bundles of the trust domains that the issuer federates with: fetched from their endpoints, or set by hand. */
export interface FederatedBundles {
  readonly bundles: ReadonlyMap<TrustDomain, FederatedBundle>;
  readonly listed: readonly ListedBundle[];
  /** Takes a bundle by hand. Throws CountersignError E_ISSUER_BUNDLE, E_BUNDLE_FORMAT, E_PEM. */
  set(trustDomain: TrustDomain, document: string): void;
  /** Throws CountersignError E_ISSUER_BUNDLE when none was set. */
  remove(trustDomain: TrustDomain): void;
  setPartners(partners: readonly FederationPartner[]): void;
  /** Called after each change of `bundles`. Returns the unsubscribe function. */
  subscribe(listener: () => void): () => void;
  close(): void;
}

export interface FederatedBundlesOptions {
  readonly trustDomain: TrustDomain;
  readonly stateFolder: string;
  readonly partners: readonly FederationPartner[];
  /** The issuer's own bundle now, for endpoints that have an identity of ours. */
  readonly ownBundle: () => TrustBundle;
  readonly clock: Clock;
  readonly log: IssuerLog;
}

interface SetBundle {
  readonly bundle: FederatedBundle;
  readonly setAtMs: number;
}

const FILE_NAME = "set-bundles.json";
const MAX_SET = 256;

/** Starts to follow the partners' endpoints. Throws CountersignError E_ISSUER_STATE. */
export function openFederatedBundles(options: FederatedBundlesOptions): FederatedBundles {
  const { trustDomain: own, stateFolder, clock, log } = options;
  const file = join(stateFolder, FILE_NAME);
  let partners = options.partners;
  let kept = readSetBundles(file);
  const listeners = new Set<() => void>();
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  const client = createFederationClient({
    partners,
    stateFolder: join(stateFolder, "federation"),
    bundleOf: (trustDomain) => (trustDomain === own ? options.ownBundle() : kept.get(trustDomain)?.bundle.trustBundle),
    clock,
    log: ({ level, event, message, fields }) => log[level]({ event, message, ...fields }),
  });
  client.subscribe(tell);
  const isPartner = (trustDomain: TrustDomain): boolean =>
    partners.some((partner) => partner.trustDomain === trustDomain);
  const save = (next: ReadonlyMap<TrustDomain, SetBundle>): void => {
    writeSetBundles(file, next);
    kept = next;
    tell();
  };

  return {
    get bundles() {
      return new Map([...Array.from(kept, ([name, { bundle }]) => [name, bundle] as const), ...client.bundles]);
    },
    get listed() {
      const { bundles } = client;
      return [
        ...client.status.map((status): ListedBundle => {
          return { source: "endpoint", bundle: bundles.get(status.trustDomain), status };
        }),
        ...Array.from(kept)
          .filter(([trustDomain]) => !isPartner(trustDomain))
          .map(([, one]): ListedBundle => ({ source: "set", ...one })),
      ];
    },
    set(trustDomain, document) {
      if (trustDomain === own) throw refusal(`${trustDomain} is the issuer's own trust domain`);
      if (isPartner(trustDomain)) throw refusal(`the bundle of ${trustDomain} comes from its endpoint (federatesWith)`);
      if (kept.size >= MAX_SET && !kept.has(trustDomain)) throw refusal(`${MAX_SET} bundles are set already`);
      const bundle = parseBundle(trustDomain, document, `the bundle of ${trustDomain}`);
      save(new Map([...kept, [trustDomain, { bundle, setAtMs: clock.nowMs() }]]));
    },
    remove(trustDomain) {
      if (!kept.has(trustDomain)) throw refusal(`no bundle of ${trustDomain} was set by hand`);
      save(new Map(Array.from(kept).filter(([name]) => name !== trustDomain)));
    },
    setPartners(next) {
      partners = next;
      client.setPartners(next);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      listeners.clear();
      client.close();
    },
  };
}

function readSetBundles(file: string): ReadonlyMap<TrustDomain, SetBundle> {
  const damaged = (why: string, cause?: unknown): CountersignError =>
    new CountersignError("E_ISSUER_STATE", why, { at: { file }, cause });
  const bytes = readGuardedFile(file, damaged);
  if (bytes === undefined) return new Map();
  try {
    const kept = JSON.parse(bytes.toString("utf8")) as readonly {
      readonly trustDomain: TrustDomain;
      readonly document: string;
      readonly setAtMs: number;
    }[];
    return new Map(
      kept.map(({ trustDomain, document, setAtMs }) => {
        return [trustDomain, { bundle: parseBundle(trustDomain, document, file), setAtMs }];
      }),
    );
  } catch (cause) {
    throw damaged(asCountersignError(cause, "E_ISSUER_STATE", "is not a list of bundles").message, cause);
  }
}

function writeSetBundles(file: string, bundles: ReadonlyMap<TrustDomain, SetBundle>): void {
  const document = Array.from(bundles, ([trustDomain, { bundle, setAtMs }]) => {
    return { trustDomain, document: bundle.document, setAtMs };
  });
  replaceFile(file, `${JSON.stringify(document, undefined, 2)}\n`);
}

function refusal(message: string): CountersignError {
  return new CountersignError("E_ISSUER_BUNDLE", message);
}
