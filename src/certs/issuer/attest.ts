import { status } from "@grpc/grpc-js";
import { printable } from "../../core/safe-text.ts";
import type { LocalPeer } from "../../sys/local-peer.ts";
import { CallRefusal } from "./call-status.ts";
import { type Entry, entriesOf, needsHash } from "./entries.ts";
import type { CallerFacts } from "./selectors.ts";

/** Looks at a caller as it is now and returns what it is entitled to, one entry an ID, in the file's order; never empty.
 *  Throws CallRefusal (PermissionDenied: it says who the caller is, not what would match) and what LocalPeer#inspect throws. */
export async function attest(peer: LocalPeer, entries: () => readonly Entry[]): Promise<readonly Entry[]> {
  const { uid, gid, pid } = peer.credentials;
  const program = await peer.inspect((path) => needsHash(entries(), { uid, gid, path, sha256: undefined }));
  const caller = { uid, gid, ...program };
  // Asked anew: a reload during the look counts.
  const matching = entriesOf(entries(), caller);
  if (matching.length === 0) {
    const path = program.path === undefined ? "an executable that was replaced or removed" : printable(program.path);
    const who = `uid ${uid}, gid ${gid}, pid ${pid}, ${path}`;
    const seen = { reason: "E_ISSUER_NO_ENTRY" as const, selectors: seenSelectors(caller) };
    throw new CallRefusal(status.PERMISSION_DENIED, `no identity issued: no entry matches ${who}`, seen);
  }
  return matching.filter((entry, index) => matching.findIndex(({ id }) => id === entry.id) === index);
}

/** What an entry for this caller could ask for. */
function seenSelectors(caller: CallerFacts): readonly string[] {
  const kinds = ["uid", "gid", "path", "sha256"] as const;
  return kinds.filter((kind) => caller[kind] !== undefined).map((kind) => `unix:${kind}:${caller[kind]}`);
}
