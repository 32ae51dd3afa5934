import { createHash } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import { asCountersignError, type CountersignError } from "../../core/errors.ts";
import type { FederationPartner } from "../../core/federation.ts";
import type { FederatedBundleStatus, TrustBundle } from "../../core/identity.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { readFile } from "../identity-file.ts";
import { logWarning } from "../identity-holder.ts";
import type { IdentityLog } from "../identity-log.ts";
import { bundleWarnings } from "../trust-bundle.ts";
import { fetchBundleDocument } from "./bundle-endpoint.ts";
import type { BundleStore } from "./bundle-store.ts";
import {
  checkSequence,
  type FederatedBundle,
  isSameBundle,
  readBootstrapBundle,
  readFederatedBundle,
} from "./federated-bundle.ts";

export interface FollowDeps {
  readonly clock: Clock;
  readonly log: IdentityLog;
  readonly store: BundleStore | undefined;
  readonly bundleOf: (trustDomain: TrustDomain) => TrustBundle | undefined;
  readonly onChange: () => void;
}

/** A partner that is being followed. */
export interface Followed {
  readonly bundle: FederatedBundle | undefined;
  readonly status: FederatedBundleStatus;
  close(): void;
}

const FETCH_TIMEOUT_MS = 30_000;
const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 300_000;

/** Takes the last good bundle or the bootstrap one, then fetches: at once, when the refresh hint says, and after a failure
 *  in 5, 10, 20 … s, at most 5 min. A failure changes nothing but the status. */
export function followPartner(partner: FederationPartner, deps: FollowDeps): Followed {
  const { trustDomain, url } = partner;
  const { clock, log, store } = deps;
  const stop = new AbortController();
  let bundle: FederatedBundle | undefined;
  let fetchedAtMs: number | undefined;
  let nextFetchMs = clock.nowMs();
  let problem: CountersignError | undefined;
  let failures = 0;
  let bootstrapHash = "";
  let cancelNext: () => void = () => undefined;

  const report = (error: unknown): void => {
    const next = asCountersignError(
      error,
      "E_FEDERATION_UNREACHABLE",
      `the bundle of ${trustDomain} could not be fetched`,
    );
    const isNews = problem?.code !== next.code || problem.message !== next.message;
    problem = next;
    if (!isNews) return;
    const age = fetchedAtMs === undefined ? "never fetched" : `fetched ${new Date(fetchedAtMs).toISOString()}`;
    log({
      level: "error",
      event: "federation.problem",
      message: next.message,
      fields: { code: next.code, trustDomain, inUse: bundle === undefined ? "none" : age },
    });
  };

  const begin = (): void => {
    let bootstrap: FederatedBundle | undefined;
    try {
      if (partner.bootstrap !== undefined) {
        bootstrap = readBootstrapBundle(trustDomain, partner.bootstrap);
        bootstrapHash = createHash("sha256").update(bootstrap.document).digest("hex");
      }
    } catch (error) {
      report(error);
    }
    bundle = bootstrap;
    try {
      const stored = store?.read(trustDomain);
      // Another bootstrap bundle than then is somebody's word that the past is over.
      if (stored === undefined || stored.bootstrapHash !== bootstrapHash) return;
      bundle = stored.bundle;
      fetchedAtMs = stored.fetchedAtMs;
    } catch (error) {
      report(error);
    }
  };

  const adopt = (document: string): void => {
    const next = readFederatedBundle(trustDomain, document, `the document of ${url}`);
    checkSequence(bundle, next, `the document of ${url}`);
    const isChanged = !isSameBundle(bundle, next);
    bundle = next;
    fetchedAtMs = clock.nowMs();
    problem = undefined;
    failures = 0;
    try {
      store?.write({ bundle: next, fetchedAtMs, bootstrapHash });
    } catch (error) {
      report(error); // in use all the same: what was just proven is better than what is kept
    }
    if (!isChanged) return;
    log({
      level: "info",
      event: "federation.updated",
      message:
        next.trustBundle.authorities.length === 0
          ? "a partner has revoked its trust domain"
          : "a partner's bundle changed",
      fields: {
        trustDomain,
        authorities: next.trustBundle.authorities.length,
        jwtKeys: next.jwtBundle.keys.length,
        sequence: String(next.sequence ?? "none"),
      },
    });
    for (const warning of bundleWarnings(next.trustBundle, fetchedAtMs)) logWarning(log, warning);
    deps.onChange();
  };

  const refresh = async (): Promise<void> => {
    const timeout = new AbortController();
    const cancelTimeout = clock.after(FETCH_TIMEOUT_MS, () => timeout.abort());
    const signal = AbortSignal.any([stop.signal, timeout.signal]);
    try {
      const { profile } = partner;
      const document = await fetchBundleDocument({
        url: new URL(url),
        profile: profile.kind === "https_web" ? { kind: profile.kind, roots: rootsOf(profile.roots) } : profile,
        bundleOf: deps.bundleOf,
        nowMs: clock.nowMs(),
        signal,
      });
      if (!stop.signal.aborted) adopt(document);
    } catch (error) {
      if (stop.signal.aborted) return;
      failures++;
      report(error);
    } finally {
      cancelTimeout();
    }
    if (stop.signal.aborted) return;
    const hintMs = bundle?.refreshHintMs ?? LONGEST_RETRY_MS;
    schedule(failures === 0 ? hintMs : Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), LONGEST_RETRY_MS, hintMs));
  };

  const schedule = (delayMs: number): void => {
    nextFetchMs = clock.nowMs() + delayMs;
    // the promise never rejects: what fails is in the status
    cancelNext = clock.after(delayMs, () => void refresh());
  };

  begin();
  schedule(0);
  return {
    get bundle() {
      return bundle;
    },
    get status() {
      return { trustDomain, url, fetchedAtMs, sequence: bundle?.sequence, nextFetchMs, problem };
    },
    close() {
      stop.abort();
      cancelNext();
    },
  };
}

/** Read at each fetch, so that a web CA can be renewed. */
function rootsOf(file: string | undefined): string | undefined {
  return file === undefined ? undefined : readFile(file).bytes.toString("utf8");
}
