/** By what keys are fetched, as far as the configuration says it. */
export interface FetchTerms {
  /** https alone, and what is dialled is checked. */
  readonly strict: boolean;
  /** Opened to fetches, as they are written. */
  readonly addresses: readonly string[];
  /** Of the authorities' file; undefined: the system's are trusted. */
  readonly ca: string | undefined;
}

/** Whether what was fetched by some terms might not be fetched by those of now. */
export function isTightened(before: FetchTerms, now: FetchTerms): boolean {
  if (now.ca !== before.ca) return true;
  return now.strict && (!before.strict || before.addresses.some((address) => !now.addresses.includes(address)));
}
