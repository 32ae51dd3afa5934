import { classifyFirstBytes } from "../classify.ts";
import { type Deadlines, deadlineAfter, type HasDeadline } from "../deadlines.ts";
import { endGently } from "../linger.ts";
import type { Transport } from "../transport.ts";
import { readServerName } from "./wire/client-hello.ts";

/** What a tunnel begins with. The bytes are all that was read so far. */
export type Opened =
  | { readonly kind: "http1" | "http2" | "opaque" | "silent"; readonly bytes: Uint8Array }
  /** With the ClientHello's server name, where that was to be read and is there. */
  | { readonly kind: "tls"; readonly name: string | undefined; readonly bytes: Uint8Array }
  /** A ClientHello that nobody can read in one way, or that does not come to its end. */
  | { readonly kind: "bad-tls"; readonly reason: string }
  | { readonly kind: "gone" };

export interface Opening {
  /** What came looks like TLS: an alert is understood. */
  readonly isTls: boolean;
  /** Stops reading; nothing is reported any more. */
  stop(): void;
  /** Lets the caller read what was written last. */
  endGently(): void;
}

/** Reads a tunnel's first bytes, by a deadline. `early`: bytes that are there already. `wholeHello`: TLS is reported once its
 *  ClientHello is complete, else at once. The transport is paused when `done` is called, its owner to be set. */
export function readOpening(
  transport: Transport,
  early: Uint8Array | undefined,
  deadlines: Deadlines,
  timeoutMs: number,
  wholeHello: boolean,
  done: (opened: Opened) => void,
): Opening {
  let bytes: Uint8Array = early ?? new Uint8Array(0);
  let finished = false;
  let isTls = false;
  const stop = (): void => {
    finished = true;
    deadlines.delete(guard);
  };
  const settle = (opened: Opened): void => {
    if (finished) return;
    stop();
    if (!transport.closed) transport.pause();
    done(opened);
  };
  const guard: HasDeadline = {
    deadlineMs: deadlineAfter(timeoutMs),
    onDeadline: () =>
      settle(
        isTls
          ? { kind: "bad-tls", reason: "the ClientHello did not come to its end in time" }
          : { kind: "silent", bytes },
      ),
  };
  const look = (): void => {
    const kind = classifyFirstBytes(bytes);
    isTls = kind === "tls";
    if (kind === "more") return;
    if (kind !== "tls") settle({ kind, bytes });
    else if (!wholeHello) settle({ kind: "tls", name: undefined, bytes });
    else {
      const reading = readServerName(bytes);
      switch (reading.kind) {
        case "more":
          return;
        case "malformed":
          settle({ kind: "bad-tls", reason: `the ClientHello cannot be read: ${reading.reason}` });
          return;
        case "none":
          settle({ kind: "tls", name: undefined, bytes });
          return;
        case "name":
          settle({ kind: "tls", name: reading.name, bytes });
          return;
      }
    }
  };
  deadlines.add(guard);
  transport.owner = {
    onBytes: (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      look();
    },
    onFin: () => settle({ kind: "gone" }),
    onWritable: () => undefined,
    onGone: () => settle({ kind: "gone" }),
  };
  // after this call has returned: its caller is to know the opening before it hears of it
  queueMicrotask(() => {
    if (finished) return;
    look();
    if (!finished) transport.resume();
  });
  return {
    get isTls() {
      return isTls;
    },
    stop,
    endGently: () => endGently(transport, deadlines),
  };
}
