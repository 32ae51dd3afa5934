import type { Socket } from "node:net";
import type { Svid } from "../core/identity.ts";

/** Open TLS connections of this process by the SVID of ours that opened them. */
const open = new Map<Svid, number>();

/** Counts a connection until its socket has closed. */
export function holdSvid(svid: Svid, socket: Socket): void {
  open.set(svid, (open.get(svid) ?? 0) + 1);
  socket.once("close", () => {
    const left = (open.get(svid) ?? 1) - 1;
    if (left > 0) open.set(svid, left);
    else open.delete(svid);
  });
}

/** Our SVIDs that open connections rest on, each with their number. */
export function svidsInUse(): ReadonlyMap<Svid, number> {
  return open;
}
