import type { Socket } from "node:net";
import type { PeerCredentialsReader } from "../../sys/local-peer.ts";
import { type AdminPagesOptions, answerAdmin } from "./admin-pages.ts";
import type { IssuerAudit } from "./issuer-audit.ts";
import type { IssuerLog } from "./issuer-log.ts";
import { listenUnix } from "./listen-unix.ts";
import { type Answer, closeHttp, smallHttpServer } from "./small-http.ts";

/** Largest request: a bundle of another trust domain. */
const MAX_BODY_BYTES = 1024 * 1024;

export interface AdminServerOptions extends Omit<AdminPagesOptions, "onChange"> {
  /** Absolute path of the socket: mode 0600. */
  readonly path: string;
  readonly peers: PeerCredentialsReader;
  readonly audit: IssuerAudit;
  readonly log: IssuerLog;
  /** Who may ask besides root: the issuer's own uid. */
  readonly ownUid: number;
}

/** Opens the admin socket: HTTP with JSON, for root and the issuer's own user alone. Rejects with CountersignError E_ISSUER_SOCKET. */
export async function serveAdmin(options: AdminServerOptions): Promise<{ close(): Promise<void> }> {
  const { path, peers, audit, log, ownUid } = options;
  const server = smallHttpServer(
    async ({ method, path: page, body, socket }) => {
      const uid = uidOf(peers, socket);
      // The socket's mode says the same; a folder that somebody bound elsewhere does not.
      if (uid !== 0 && uid !== ownUid) return FORBIDDEN;
      const onChange: AdminPagesOptions["onChange"] = (reason, what) => {
        log.info({ event: reason, what, uid });
        audit.event({ kind: "identity", reason, decision: "allow", local: { uid }, detail: what });
      };
      return answerAdmin({ ...options, onChange }, { method, path: page, body });
    },
    { bodyBytes: MAX_BODY_BYTES },
    (error) => log.error({ event: "page.failed", name: "admin", error: String(error) }),
  );
  await listenUnix(server, path, "owner");
  return { close: () => closeHttp(server) };
}

const FORBIDDEN: Answer = {
  status: 403,
  contentType: "text/plain; charset=utf-8",
  body: "for root and the issuer's own user only\n",
  maxAgeSeconds: 0,
};

function uidOf(peers: PeerCredentialsReader, socket: Socket): number {
  const peer = peers.open(socket);
  peer.close();
  return peer.credentials.uid;
}
