import { readFileSync } from "node:fs";

const LISTEN = "0A";

/** The uid that listens on a TCP port of this machine (and network namespace), or undefined when nobody does, or the system does
 *  not say (proc(5), /proc/net/tcp). Reads whole tables: for a command, not for each call. */
export function listeningUid(port: number): number | undefined {
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const uid = inTable(table, port.toString(16).toUpperCase().padStart(4, "0"));
    if (uid !== undefined) return uid;
  }
  return undefined;
}

function inTable(path: string, hexPort: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
  for (const line of text.split("\n").slice(1)) {
    const [, local = "", , state, , , , uid] = line.trim().split(/\s+/);
    if (state === LISTEN && local.endsWith(`:${hexPort}`)) return Number(uid);
  }
  return undefined;
}
