/** The life of an authority: a CA, or a key that signs JWT-SVIDs. */
export interface Term {
  readonly createdMs: number;
  readonly notAfterMs: number;
  /** When it begins to sign, if that is settled otherwise than by its predecessor's end. */
  readonly activatesMs?: number | undefined;
}

/** Terms that have not ended, oldest first. Whoever verifies must trust all of them. */
export function liveTerms<T extends Term>(terms: readonly T[], nowMs: number): readonly T[] {
  return terms.filter((term) => nowMs < term.notAfterMs).toSorted((a, b) => a.createdMs - b.createdMs);
}

/** When `next` begins to sign in place of `previous`. Until then it is only published, so that every verifier has it
 *  first: two thirds of the overlap. Prepared at half life, that is at 5/6 of the life; an issuer that was stopped for
 *  long and prepares late still keeps the same proportion. */
export function activationMs(previous: Term, next: Term): number {
  return next.activatesMs ?? next.createdMs + Math.max(0, previous.notAfterMs - next.createdMs) * (2 / 3);
}

/** Longest time that a term of another kind (another key type, another CA above) is only published: verifiers ask for bundles
 *  every 5 minutes, relying parties of OIDC mostly every hour. */
const MAX_SWITCH_MS = 3_600_000;

/** When a term that replaces `previous` before its time begins to sign. */
export function switchMs(previous: Term, nowMs: number): number {
  return nowMs + Math.min(MAX_SWITCH_MS, Math.max(0, previous.notAfterMs - nowMs) * (2 / 3));
}

/** The term that signs now, or undefined when all have ended. */
export function activeTerm<T extends Term>(terms: readonly T[], nowMs: number): T | undefined {
  const live = liveTerms(terms, nowMs);
  return live.findLast((term, index) => {
    const previous = live[index - 1];
    return previous === undefined || nowMs >= activationMs(previous, term);
  });
}

/** When the next term must be made: at half the life of the newest. 0 when there is none. */
export function preparationMs(terms: readonly Term[]): number {
  const newest = terms.toSorted((a, b) => a.createdMs - b.createdMs).at(-1);
  return newest === undefined ? 0 : newest.createdMs + (newest.notAfterMs - newest.createdMs) / 2;
}

/** The next moment after `nowMs` at which any of the answers above changes. */
export function nextChangeMs(terms: readonly Term[], nowMs: number): number {
  const live = liveTerms(terms, nowMs);
  const activations = live.slice(1).map((term, i) => activationMs(live[i] ?? term, term));
  const moments = [preparationMs(live), ...activations, ...live.map((term) => term.notAfterMs)];
  return Math.min(...moments.filter((moment) => moment > nowMs));
}
