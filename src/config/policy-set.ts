import type { Clock } from "../core/clock.ts";
import { asCountersignError, type CountersignError, CountersignErrors } from "../core/errors.ts";
import type { OpenedPolicySource, PolicySourceState } from "./policy-set-source.ts";
import { readPolicyFiles, type SourceFile } from "./policy-source.ts";
import { openPolicyUrl, type UrlSourceParts } from "./policy-url-source.ts";
import type { SidecarConfig } from "./sidecar-config.ts";
import { type FilesChange, type FilesWatch, watchPolicyFiles } from "./watch-files.ts";

/** All policies of a configuration, wherever they come from: files and folders first, then each URL, as one set. */
export interface PolicySet {
  readonly files: readonly SourceFile[];
  /** Of every source but files. */
  readonly states: readonly PolicySourceState[];
  /** Tells the sources that these files are in force. Resolves with what could not be kept. */
  keep(inForce: readonly SourceFile[]): Promise<readonly CountersignError[]>;
  /** Begins to watch, once. Each change carries the newest of all sources. */
  watch(watcher: PolicySetWatcher): FilesWatch;
}

export interface PolicySetWatcher {
  readonly onChange: (change: FilesChange) => void;
  /** A source was looked at: `states` may be other ones. */
  readonly onState: () => void;
  readonly signal: AbortSignal;
}

/** Reads the policies of a configuration for the first time. Throws CountersignErrors with everything that cannot be had. */
export async function openPolicySet(
  config: Pick<SidecarConfig, "policies" | "policyUrls">,
  clock: Clock,
  parts: Partial<UrlSourceParts> = {},
): Promise<PolicySet> {
  const errors: CountersignError[] = [];
  const collect = (error: unknown): undefined => {
    if (error instanceof CountersignErrors) errors.push(...error.errors);
    else errors.push(asCountersignError(error, "E_POLICY_FETCH", "the policies cannot be had"));
  };
  const urlParts = { clock, random: Math.random, ...parts };
  const [named, ...opened] = await Promise.all([
    readPolicyFiles(config.policies).catch(collect),
    ...config.policyUrls.map((url) => openPolicyUrl(url, urlParts).catch(collect)),
  ]);
  const sources = opened.filter((source) => source !== undefined);
  if (named === undefined || errors.length > 0) throw new CountersignErrors(errors);
  return policySet(config.policies, named, sources, clock);
}

function policySet(
  paths: SidecarConfig["policies"],
  named: readonly SourceFile[],
  sources: readonly OpenedPolicySource[],
  clock: Clock,
): PolicySet {
  let ofFiles = named;
  const ofSources = sources.map(({ files }) => files);
  const all = (): readonly SourceFile[] => [...ofFiles, ...ofSources.flat()];
  return {
    files: all(),
    get states() {
      return sources.map(({ state }) => state);
    },
    async keep(inForce) {
      const kept = await Promise.allSettled(sources.map((source) => source.keep(inForce)));
      return kept.flatMap((result) => (result.status === "rejected" ? [keepProblem(result.reason)] : []));
    },
    watch({ onChange, onState, signal }) {
      const report = (): void => onChange({ kind: "read", files: all() });
      const watches = sources.map((source, i) =>
        source.watch({
          onChange: (files) => {
            ofSources[i] = files;
            report();
          },
          onState,
          signal,
        }),
      );
      const files = watchPolicyFiles(paths, {
        initial: ofFiles,
        clock,
        signal,
        onChange: (change) => {
          if (change.kind === "failed") {
            onChange(change);
            return;
          }
          ofFiles = change.files;
          report();
        },
      });
      return {
        // the report comes with the files, so it has what the others have found
        reloadNow: async () => {
          await Promise.all(watches.map((watch) => watch.reloadNow()));
          await files.reloadNow();
        },
      };
    },
  };
}

function keepProblem(error: unknown): CountersignError {
  return asCountersignError(error, "E_POLICY_KEPT", "policies cannot be kept");
}
