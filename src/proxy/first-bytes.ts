import { classifyFirstBytes } from "./classify.ts";
import { deadlineAfter, type HasDeadline } from "./deadlines.ts";
import type { Runtime } from "./runtime.ts";
import type { Transport } from "./transport.ts";

/** What a connection speaks: HTTP, something else, TLS included (`opaque`), or too little in time (`silent`): a protocol whose server speaks
 *  first, or a caller that is very slow. */
export interface Sniffed {
  readonly kind: "http1" | "http2" | "opaque" | "silent";
  /** All that was read. */
  readonly bytes: Uint8Array;
}

/** Reads as many first bytes as it takes to tell the protocol, by a deadline. `initial`: bytes already read. `onlyHttp`: nothing else is
 *  served here; a caller has a head's time to begin, and what is no HTTP is said to be HTTP/1.1, by whose rules it is refused.
 *  `done` is called once, unless the other side closes before it has said anything: then the transport ends. It is left paused, its
 *  owner to be set. */
export function sniffFirstBytes(
  transport: Pick<Transport, "owner" | "closed" | "pause" | "resume" | "destroy">,
  initial: Uint8Array | undefined,
  { deadlines, timeouts }: SniffRuntime,
  onlyHttp: boolean,
  done: (sniffed: Sniffed) => void,
): void {
  let bytes: Uint8Array = initial ?? new Uint8Array(0);
  let finished = false;
  const finish = (): void => {
    finished = true;
    deadlines.delete(guard);
    if (!transport.closed) transport.pause();
  };
  const settle = (kind: Sniffed["kind"]): void => {
    if (finished) return;
    finish();
    done({ kind: onlyHttp && kind !== "http2" ? "http1" : kind, bytes });
  };
  const gone = (): void => {
    if (finished) return;
    finish();
    transport.destroy();
  };
  const look = (): void => {
    const kind = classifyFirstBytes(bytes);
    if (kind !== "more") settle(kind === "tls" ? "opaque" : kind);
  };
  const guard: HasDeadline = {
    deadlineMs: deadlineAfter(onlyHttp ? timeouts.head : timeouts.classify),
    onDeadline: () => settle("silent"),
  };
  look();
  if (finished) return;
  deadlines.add(guard);
  transport.owner = {
    onBytes: (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      look();
    },
    onFin: () => {
      if (bytes.length === 0) gone();
      else settle("opaque");
    },
    onWritable: () => undefined,
    onGone: gone,
  };
  transport.resume();
}

type SniffRuntime = Pick<Runtime, "deadlines"> & { readonly timeouts: Pick<Runtime["timeouts"], "head" | "classify"> };
