import type { Clock } from "../core/clock.ts";
import { asCountersignError, type CountersignError, CountersignErrors } from "../core/errors.ts";
import type { PolicyCandidates, PolicyOffer, PolicySourceState } from "./policy-set-source.ts";
import { type PolicyPath, readPolicyFiles, type SourceFile } from "./policy-source.ts";
import { type OpenedPolicyUrl, openPolicyUrl, type UrlSourceParts } from "./policy-url-source.ts";
import { readStillFiles } from "./read-still-files.ts";
import type { PolicyUrlConfig, SidecarConfig } from "./sidecar-config.ts";
import { type FilesWatch, watchPolicyFiles } from "./watch-files.ts";

type Named = Pick<SidecarConfig, "policies" | "policyUrls">;

/** All policies of a configuration, wherever they come from: files and folders first, as one source, then each URL. */
export interface PolicySet {
  readonly candidates: readonly PolicyCandidates[];
  /** Of every source but files. */
  readonly states: readonly PolicySourceState[];
  /** Why the newest of some sources is not in force. */
  readonly refused: CountersignErrors | undefined;
  /** Keeps what is in force over restarts; the states say where that failed. Never rejects. */
  keep(): Promise<void>;
  /** Begins to watch, once. */
  watch(watcher: PolicySetWatcher): FilesWatch;
  /** Opens the URLs of another configuration that this set does not have. Rejects with CountersignErrors. */
  openNew(config: Named, signal: AbortSignal): Promise<readonly OpenedPolicyUrl[]>;
  /** The set of another configuration: files read anew, which come with it or it does not come; what is known of the URLs that stay; and those that were opened. Undefined when one is
   *  missing: another configuration came into force meanwhile. Once it is watched, this one must not be. Rejects with CountersignErrors. */
  follow(config: Named, opened: readonly OpenedPolicyUrl[]): Promise<PolicySet | undefined>;
}

export interface PolicySetWatcher {
  /** A source has another newest set; also after SIGHUP, when nothing changed. */
  readonly onChange: () => void;
  /** The files cannot be read: `refused` says why. */
  readonly onFailed: () => void;
  /** A source was looked at: `states` may be other ones. */
  readonly onState: () => void;
  readonly signal: AbortSignal;
}

/** How long SIGHUP waits for servers before files are read. */
const LOOKS_PATIENCE_MS = 2_000;

type SetParts = Omit<UrlSourceParts, "signal" | "taken">;

/** Reads the policies of a configuration for the first time. Rejects with CountersignErrors with everything that cannot be had. */
export async function openPolicySet(
  config: Named,
  clock: Clock,
  parts: Partial<UrlSourceParts> = {},
): Promise<PolicySet> {
  const urlParts = { clock, random: Math.random, ...parts };
  const [named, urls] = await allOf([readPolicyFiles(config.policies), openUrls(config.policyUrls, urlParts)]);
  return policySet(filesSource(config.policies, named), urls, urlParts);
}

function policySet(files: FilesSource, urls: readonly OpenedPolicyUrl[], parts: SetParts): PolicySet {
  const { clock } = parts;
  const resumed = (next: PolicyUrlConfig): OpenedPolicyUrl | undefined => firstOf(urls, (url) => url.resume(next));
  return {
    candidates: [files, ...urls],
    get states() {
      return urls.map(({ state }) => state);
    },
    get refused() {
      const errors = [files, ...urls].flatMap(({ refused }) => refused?.errors ?? []);
      return errors.length === 0 ? undefined : new CountersignErrors([...new Set(errors)]);
    },
    async keep() {
      await Promise.all(urls.map((url) => url.keep()));
    },
    watch({ onChange, onFailed, onState, signal }) {
      const watches = urls.map((url) => url.watch({ onChange, onState, signal }));
      const ofFiles = watchPolicyFiles(files.paths, {
        initial: files.newest.files,
        clock,
        signal,
        onChange: (change) => {
          if (change.kind === "failed") {
            files.unreadable = change.error;
            onFailed();
          } else {
            files.take(change.files);
            onChange();
          }
        },
      });
      return {
        // the report comes with the files, so it has what the others have found in time
        reloadNow: async () => {
          const looks = Promise.all(watches.map((watch) => watch.reloadNow()));
          const late = Promise.withResolvers<undefined>();
          const cancel = clock.after(LOOKS_PATIENCE_MS, () => late.resolve(undefined));
          await Promise.race([looks, late.promise]);
          cancel();
          await ofFiles.reloadNow();
        },
      };
    },
    openNew({ policyUrls }, signal) {
      const taken = new Map(urls.map((url) => [url.config.url, url.taken]));
      const missing = policyUrls.filter((next) => resumed(next) === undefined);
      return openUrls(missing, { ...parts, signal, taken });
    },
    async follow({ policies, policyUrls }, opened) {
      const next = policyUrls.map((url) => resumed(url) ?? opened.find(({ config }) => config === url));
      const found = next.filter((url) => url !== undefined);
      if (found.length < next.length) return undefined;
      const isSame = samePaths(policies, files.paths);
      const named = await readStillFiles(policies, isSame ? files.newest.files : undefined, clock);
      return policySet(filesSource(policies, named), found, parts);
    },
  };
}

/** All files and folders that a configuration names. */
interface FilesSource extends PolicyCandidates {
  readonly paths: readonly PolicyPath[];
  readonly refused: CountersignErrors | undefined;
  /** Why the newest look found nothing. */
  unreadable: CountersignErrors | undefined;
  take(files: readonly SourceFile[]): void;
}

function filesSource(paths: readonly PolicyPath[], named: readonly SourceFile[]): FilesSource {
  let refused: CountersignErrors | undefined;
  const offer = (files: readonly SourceFile[]): PolicyOffer => {
    const own: PolicyOffer = {
      files,
      accept() {
        lastGood = own;
        if (newest === own) refused = undefined;
      },
      refuse(errors) {
        if (newest === own) refused = errors;
      },
    };
    return own;
  };
  let lastGood: PolicyOffer | undefined;
  let newest = offer(named);
  return {
    paths,
    unreadable: undefined,
    get newest() {
      return newest;
    },
    get lastGood() {
      return lastGood;
    },
    get refused() {
      return this.unreadable ?? refused;
    },
    take(files) {
      this.unreadable = undefined;
      newest = offer(files);
    },
  };
}

async function openUrls(urls: readonly PolicyUrlConfig[], parts: UrlSourceParts): Promise<readonly OpenedPolicyUrl[]> {
  return allOf(urls.map((url) => openPolicyUrl(url, parts)));
}

/** All results, or CountersignErrors with every error. */
async function allOf<T extends readonly unknown[]>(
  promises: {
    readonly [K in keyof T]: Promise<T[K]>;
  },
): Promise<T> {
  const settled = await Promise.allSettled(promises);
  const errors: CountersignError[] = [];
  for (const one of settled) {
    if (one.status === "fulfilled") continue;
    const { reason } = one as { readonly reason: unknown };
    if (reason instanceof CountersignErrors) errors.push(...reason.errors);
    else errors.push(asCountersignError(reason, "E_POLICY_FETCH", "the policies cannot be had"));
  }
  if (errors.length > 0) throw new CountersignErrors(errors);
  return Promise.all(promises) as unknown as Promise<T>;
}

function firstOf<T, R>(items: readonly T[], look: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const found = look(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function samePaths(a: readonly PolicyPath[], b: readonly PolicyPath[]): boolean {
  return a.length === b.length && a.every(({ path }, i) => b[i]?.path === path);
}
