import type { Clock } from "../core/clock.ts";

export interface TokenBucketOptions {
  /** What a key may take at once after a rest. */
  readonly burst: number;
  readonly perSecond: number;
  /** Keys remembered; a full bucket needs no memory, so more keys than this at once means that takes are refused. */
  readonly maxKeys: number;
  readonly clock: Clock;
}

/** One token bucket a key (a uid): keeps one local user from using up what all share. */
export interface TokenBuckets {
  /** Takes `amount`, or takes nothing and returns false. */
  take(key: number, amount: number): boolean;
}

export function createTokenBuckets({ burst, perSecond, maxKeys, clock }: TokenBucketOptions): TokenBuckets {
  const buckets = new Map<number, { tokens: number; atMs: number }>();
  const refilled = (bucket: { readonly tokens: number; readonly atMs: number }, nowMs: number): number =>
    Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * perSecond);
  const forgetFull = (nowMs: number): void => {
    for (const [key, bucket] of buckets) if (refilled(bucket, nowMs) >= burst) buckets.delete(key);
  };
  return {
    take(key, amount) {
      const nowMs = clock.monotonicMs();
      const bucket = buckets.get(key);
      if (bucket === undefined && buckets.size >= maxKeys) {
        forgetFull(nowMs);
        if (buckets.size >= maxKeys) return false;
      }
      const tokens = bucket === undefined ? burst : refilled(bucket, nowMs);
      if (tokens < amount) return false;
      buckets.set(key, { tokens: tokens - amount, atMs: nowMs });
      return true;
    },
  };
}
