import { CountersignError } from "../core/errors.ts";
import { deadlineAfter } from "./deadlines.ts";
import type { ListenerOptions, MakeConnection } from "./listener.ts";
import type { Runtime } from "./runtime.ts";

/** How long a connection beyond the limit has for the call that is to be answered. */
const SPARE_MS = 1000;

/** A connection beyond the listener's limit: served like others, but that each of its calls is turned away; it ends soon. */
export function openSpare(
  runtime: Runtime,
  make: MakeConnection,
  ...[socket, onClosed]: Parameters<ListenerOptions["accept"]>
): ReturnType<MakeConnection> {
  const full = tooManyConnections(runtime);
  // all else is as it is for others, now and later
  const own: Runtime = Object.create(runtime, { overload: { value: full } }) as Runtime;
  const connection = make(own, socket, () => {
    runtime.deadlines.delete(guard);
    onClosed();
  });
  let isDrained = false;
  const guard = {
    deadlineMs: deadlineAfter(SPARE_MS),
    onDeadline(nowMs: number): void {
      guard.deadlineMs = deadlineAfter(SPARE_MS, nowMs);
      if (isDrained) connection.cut(full.code, full.message);
      else connection.drain();
      isDrained = true;
    },
  };
  runtime.deadlines.add(guard);
  return connection;
}

/** Why a connection beyond the listener's limit is not served. */
export function tooManyConnections({ limits }: Runtime): CountersignError {
  return new CountersignError("E_CONNECTION_LIMIT", `${limits.connections} connections are open already`);
}
