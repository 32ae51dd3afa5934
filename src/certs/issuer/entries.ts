import type { SpiffeId } from "../../core/spiffe-id.ts";
import { type CallerFacts, matchesSelector, type Selector } from "./selectors.ts";

/** Who gets an ID: every selector must hold. There is always a uid among them. Immutable. */
export interface Entry {
  readonly id: SpiffeId;
  /** Never empty. */
  readonly selectors: readonly Selector[];
  /** "" if none. */
  readonly hint: string;
}

/** The entries that a caller matches, in the file's order: the first is its default identity. */
export function entriesOf(entries: readonly Entry[], caller: CallerFacts): readonly Entry[] {
  return entries.filter((entry) => entry.selectors.every((selector) => matchesSelector(selector, caller)));
}

/** Whether the answer hangs on the caller's hash, which costs to compute: some entry matches in everything else. */
export function needsHash(entries: readonly Entry[], caller: CallerFacts): boolean {
  return entries.some(
    ({ selectors }) =>
      selectors.some(({ kind }) => kind === "sha256") &&
      selectors.every((selector) => selector.kind === "sha256" || matchesSelector(selector, caller)),
  );
}
