const LONGEST_LEAD_MS = 30_000;

/** How long before an identity ends its connections begin to drain: 10 % of what is left of it, at most 30 s. */
export function drainLeadMs(remainingMs: number): number {
  return Math.max(0, Math.min(LONGEST_LEAD_MS, remainingMs * 0.1));
}

/** When a connection begins to drain and when it is cut, wall clock. */
export interface ConnectionEnd {
  readonly drainMs: number;
  readonly cutMs: number;
}

/** The end of a connection whose identities run out at `expiresMs`, and that may live `ageMs` (0: as long as they do). Age only drains. */
export function connectionEnd(expiresMs: number, ageMs: number, nowMs: number = Date.now()): ConnectionEnd {
  const identityDrainMs = expiresMs - drainLeadMs(expiresMs - nowMs);
  const ageDrainMs = ageMs === 0 ? Number.POSITIVE_INFINITY : nowMs + ageMs;
  return { drainMs: Math.min(identityDrainMs, ageDrainMs), cutMs: expiresMs };
}
