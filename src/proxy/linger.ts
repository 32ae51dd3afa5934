import { type Deadlines, deadlineAfter, type HasDeadline } from "./deadlines.ts";
import type { Transport } from "./transport.ts";

/** How long a caller that we have said good-bye to may still send before it is cut: without it a client that is still sending
 *  would lose our answer to a RST (RFC 9112 section 9.6). */
export const LINGER_MS = 2000;

/** Writes what waits, says that we are done, and drops what still comes until the caller is done too, or late. */
export function endGently(transport: Transport, deadlines: Deadlines): void {
  if (transport.closed) return;
  const guard: HasDeadline = { deadlineMs: deadlineAfter(LINGER_MS), onDeadline: () => transport.destroy() };
  const ignore = (): void => undefined;
  transport.owner = { onBytes: ignore, onFin: ignore, onWritable: ignore, onGone: () => deadlines.delete(guard) };
  deadlines.add(guard);
  transport.end();
  transport.resume();
}
