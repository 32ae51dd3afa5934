/** What a peer may do too often. */
export type FloodKind =
  /** Streams that the peer opens and resets (rapid reset, CVE-2023-44487). */
  | "resets"
  /** Streams that the peer's own faults make us reset ("made you reset", CVE-2025-8671), and streams above the limit. */
  | "provokedResets"
  | "pings"
  | "settings"
  | "priorities"
  | "windowUpdates"
  /** Frames of DATA, HEADERS or CONTINUATION that carry nothing. */
  | "emptyFrames";

/** How often: a bucket of `burst` that leaks `perSecond`. */
export interface FloodLimit {
  readonly burst: number;
  readonly perSecond: number;
}

export type FloodLimits = Readonly<Record<FloodKind, FloodLimit>>;

/** How many PINGs and WINDOW_UPDATEs a DATA or HEADERS frame pays for, in either direction: they come with traffic (a gRPC client measures its
 *  path with one PING per round trip). */
const PAID_BY_TRAFFIC = 4;

class Bucket {
  level = 0;
  sinceMs = 0;
}

/** Counts what one peer does on one connection. Pure: time is handed in. */
export class FloodGuard {
  readonly #limits: FloodLimits;
  readonly #buckets: Record<FloodKind, Bucket> = {
    resets: new Bucket(),
    provokedResets: new Bucket(),
    pings: new Bucket(),
    settings: new Bucket(),
    priorities: new Bucket(),
    windowUpdates: new Bucket(),
    emptyFrames: new Bucket(),
  };

  constructor(limits: FloodLimits) {
    this.#limits = limits;
  }

  /** Notes one more; true if that is too many. `nowMs` is monotonic. */
  passes(kind: FloodKind, nowMs: number): boolean {
    const bucket = this.#buckets[kind];
    const { burst, perSecond } = this.#limits[kind];
    const leaked = ((nowMs - bucket.sinceMs) * perSecond) / 1000;
    bucket.level = Math.max(0, bucket.level - leaked) + 1;
    bucket.sinceMs = nowMs;
    return bucket.level > burst;
  }

  /** A stream ended in order: it makes up for one that was reset. One connection of a sidecar carries the calls of many, and of many some
   *  are always given up. */
  completed(): void {
    const { resets } = this.#buckets;
    if (resets.level > 0) resets.level = Math.max(0, resets.level - 1);
  }

  /** A frame of traffic went in either direction. */
  traffic(): void {
    const { pings, windowUpdates } = this.#buckets;
    if (pings.level > 0) pings.level = Math.max(0, pings.level - PAID_BY_TRAFFIC);
    if (windowUpdates.level > 0) windowUpdates.level = Math.max(0, windowUpdates.level - PAID_BY_TRAFFIC);
  }
}
