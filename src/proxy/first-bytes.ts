import { classifyFirstBytes, type FirstBytes } from "./classify.ts";
import { type Deadlines, deadlineAfter, type HasDeadline } from "./deadlines.ts";
import type { Transport, TransportOwner } from "./transport.ts";

export type Sniffed =
  | { readonly kind: FirstBytes; readonly bytes: Uint8Array }
  /** Too little came in time: a server-speaks-first protocol, or a caller that is very slow. */
  | { readonly kind: "silent"; readonly bytes: Uint8Array }
  /** Closed before it said anything that could be told. */
  | { readonly kind: "gone"; readonly bytes: Uint8Array; readonly error: Error | undefined };

/** Reads as many first bytes as it takes to tell the protocol, by a deadline. `initial`: bytes already read.
 *  The transport is left paused, its owner to be set. */
export function sniffFirstBytes(
  transport: Transport,
  initial: Uint8Array | undefined,
  deadlines: Deadlines,
  timeoutMs: number,
  done: (sniffed: Sniffed) => void,
): void {
  let bytes: Uint8Array = initial ?? new Uint8Array(0);
  let finished = false;
  const settle = (sniffed: Sniffed): void => {
    if (finished) return;
    finished = true;
    deadlines.delete(guard);
    if (!transport.closed) transport.pause();
    done(sniffed);
  };
  const guard: HasDeadline = {
    deadlineMs: deadlineAfter(timeoutMs),
    onDeadline: () => settle({ kind: "silent", bytes }),
  };
  const owner: TransportOwner = {
    onBytes: (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      const kind = classifyFirstBytes(bytes);
      if (kind !== "more") settle({ kind, bytes });
    },
    onFin: () => settle({ kind: bytes.length === 0 ? "gone" : "opaque", bytes, error: undefined }),
    onWritable: () => undefined,
    onGone: (error) => settle({ kind: "gone", bytes, error }),
  };
  const already = classifyFirstBytes(bytes);
  if (already !== "more") {
    settle({ kind: already, bytes });
    return;
  }
  deadlines.add(guard);
  transport.owner = owner;
  transport.resume();
}
