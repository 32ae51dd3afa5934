import { CountersignErrors } from "../core/errors.ts";
import type { PolicyCandidates, PolicyOffer } from "./policy-set-source.ts";
import type { SourceFile } from "./policy-source.ts";
import { sameFiles } from "./source-changes.ts";

/** One set out of those of all sources. */
export interface PolicyChoice<T> {
  readonly compiled: T;
  readonly files: readonly SourceFile[];
  /** Some source's newest set is not in it. */
  readonly isHeldBack: boolean;
  /** Tells the sources, once it is in force, or is what stays in force. */
  settle(): void;
}

/** The newest sets of all sources if they are valid as one; else the last good of each, with what is newer wherever that leaves the whole
 *  valid: nobody's mistake holds back the others' changes. Rejects with the CountersignErrors of all the newest when nothing else can be
 *  tried or is valid. */
export async function newestThatFit<T>(
  sources: readonly PolicyCandidates[],
  compile: (files: readonly SourceFile[]) => Promise<T>,
): Promise<PolicyChoice<T>> {
  // what comes while this waits is for the next time
  const newest = sources.map((source) => source.newest);
  const chosen = sources.map(({ lastGood }, i) => lastGood ?? offerAt(newest, i));
  const refused = new Map<PolicyOffer, CountersignErrors>();
  const choiceOf = (offers: readonly PolicyOffer[], compiled: T): PolicyChoice<T> => ({
    compiled,
    files: filesOf(offers),
    isHeldBack: refused.size > 0,
    settle() {
      for (const offer of offers) offer.accept();
      for (const [offer, errors] of refused) offer.refuse(errors);
    },
  });

  let first: CountersignErrors;
  try {
    return choiceOf([...newest], await compile(filesOf(newest)));
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    first = error;
  }
  const others = newest.flatMap((offer, i) => (sameFiles(offer.files, offerAt(chosen, i).files) ? [] : [i]));
  if (others.length === 0) throw first;
  let compiled: { readonly value: T } | undefined;
  for (const i of others) {
    const [lastGood, next] = [offerAt(chosen, i), offerAt(newest, i)];
    chosen[i] = next;
    // alone it is what has just failed
    // oxlint-disable-next-line no-await-in-loop -- each stands on those before
    const tried = others.length === 1 ? first : await attempt(() => compile(filesOf(chosen)));
    if (!(tried instanceof CountersignErrors)) {
      compiled = tried;
      continue;
    }
    refused.set(next, tried);
    chosen[i] = lastGood;
  }
  if (compiled === undefined) {
    const last = await attempt(() => compile(filesOf(chosen)));
    if (last instanceof CountersignErrors) throw first;
    compiled = last;
  }
  return choiceOf(chosen, compiled.value);
}

async function attempt<T>(compile: () => Promise<T>): Promise<{ readonly value: T } | CountersignErrors> {
  try {
    return { value: await compile() };
  } catch (error) {
    if (error instanceof CountersignErrors) return error;
    throw error;
  }
}

function filesOf(offers: readonly PolicyOffer[]): readonly SourceFile[] {
  return offers.flatMap(({ files }) => files);
}

function offerAt(offers: readonly PolicyOffer[], i: number): PolicyOffer {
  const offer = offers[i];
  if (offer === undefined) throw new TypeError("a source without an offer");
  return offer;
}
