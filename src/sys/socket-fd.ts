import type { Socket } from "node:net";

/** The file descriptor of an open socket, or undefined once it is closed. Node keeps it on the handle, without a public
 *  name; it stays owned by the socket: never close it, and never keep it beyond the current turn. */
export function socketFd(socket: Socket): number | undefined {
  const handle = (socket as { readonly _handle?: { readonly fd?: unknown } | null })._handle;
  const fd = handle?.fd;
  return typeof fd === "number" && fd >= 0 ? fd : undefined;
}
