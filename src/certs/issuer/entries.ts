import { createHash } from "node:crypto";
import type { SpiffeId, TrustDomain } from "../../core/spiffe-id.ts";
import { type CallerFacts, formatSelector, matchesSelector, type Selector } from "./selectors.ts";

/** Who gets an ID: every selector must hold. There is always a uid among them. Immutable. */
export interface Entry {
  readonly id: SpiffeId;
  /** Never empty. */
  readonly selectors: readonly Selector[];
  /** "" if none. */
  readonly hint: string;
  /** Life of its X.509-SVIDs and JWT-SVIDs; undefined: the issuer's own. */
  readonly svidTtlMs: number | undefined;
  readonly jwtTtlMs: number | undefined;
  /** Trust domains whose bundles it gets; undefined: all that the issuer federates with. */
  readonly federatesWith: readonly TrustDomain[] | undefined;
}

/** Names an entry by what makes it one, its ID and its selectors: the same over restarts and reloads. 12 hex digits. */
export function entryIdOf({ id, selectors }: Pick<Entry, "id" | "selectors">): string {
  const text = [id, ...selectors.map(formatSelector).sort()].join("\n");
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
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
