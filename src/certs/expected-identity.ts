import type { SpiffeId } from "../core/spiffe-id.ts";

/** Whom a server must prove to be: one ID, or any ID with this prefix and one more segment. */
export interface ExpectedSpiffeId {
  readonly exact: SpiffeId | undefined;
  /** Everything before a star that stands for the whole last segment, slash included. */
  readonly prefix: string | undefined;
}

/** Whether a verified SPIFFE ID is the expected one. The star stands for exactly one segment. */
export function matchesExpected(expected: ExpectedSpiffeId, spiffeId: SpiffeId): boolean {
  const { exact, prefix } = expected;
  if (exact !== undefined) return spiffeId === exact;
  return (
    prefix !== undefined &&
    spiffeId.length > prefix.length &&
    spiffeId.startsWith(prefix) &&
    !spiffeId.includes("/", prefix.length)
  );
}
