import type { Socket } from "node:net";
import { CountersignError } from "../core/errors.ts";
import { type Deadlines, deadlineAfter, type HasDeadline } from "./deadlines.ts";
import { type ProxiedSource, readProxyHeader } from "./proxy-protocol/read-proxy-header.ts";

/** What came before a connection's own bytes. `rest`: own bytes that were read, undefined if there are none yet. */
export interface ProxiedStart {
  readonly source: ProxiedSource | undefined;
  readonly rest: Buffer | undefined;
}

/** Reads the PROXY header of an accepted connection. A trusted proxy must send one, by the deadline; from anybody else one is refused, and
 *  none is waited for longer than that. Errors are E_PROXY_HEADER. `done` is called once, unless the socket closes before. The
 *  socket has no listener of ours afterwards, so that TLS can take it over. */
export function receiveProxyHeader(
  raw: Socket,
  trusted: boolean,
  deadlines: Deadlines,
  timeoutMs: number,
  done: (start: ProxiedStart | CountersignError) => void,
): void {
  let bytes: Buffer = Buffer.alloc(0);
  const settle = (result: ProxiedStart | CountersignError): void => {
    stop();
    done(result);
  };
  const refuse = (why: string): void => settle(new CountersignError("E_PROXY_HEADER", why));
  const guard: HasDeadline = {
    deadlineMs: deadlineAfter(timeoutMs),
    onDeadline: () => {
      if (trusted) refuse("the proxy's PROXY header did not come in time");
      else settle({ source: undefined, rest: bytes.length === 0 ? undefined : bytes });
    },
  };
  const stop = (): void => {
    deadlines.delete(guard);
    raw.removeListener("readable", onReadable);
    raw.removeListener("end", onEnd);
    raw.removeListener("close", stop);
  };
  const onEnd = (): void => {
    stop();
    raw.destroy();
  };
  const onReadable = (): void => {
    const chunk: Buffer | null = raw.read();
    if (chunk === null) return;
    bytes = Buffer.concat([bytes, chunk]);
    const reading = readProxyHeader(bytes);
    switch (reading.kind) {
      case "more":
        return;
      case "none":
        if (trusted) refuse("a trusted proxy sent no PROXY header");
        else settle({ source: undefined, rest: bytes });
        return;
      case "malformed":
        refuse(`the PROXY header cannot be read: ${reading.reason}`);
        return;
      case "header": {
        if (!trusted) {
          refuse("a PROXY header came from an address that is not in trustedProxies");
          return;
        }
        const rest = bytes.subarray(reading.used);
        settle({ source: reading.source, rest: rest.length === 0 ? undefined : rest });
        return;
      }
    }
  };
  deadlines.add(guard);
  raw.on("readable", onReadable);
  raw.once("end", onEnd);
  raw.once("close", stop);
}
