import type { Clock } from "../../core/clock.ts";
import type { SpiffeId } from "../../core/spiffe-id.ts";
import type { Authorities } from "./authorities.ts";
import type { IssuerHttpConfig } from "./http-shape.ts";
import { type IssuerAudit, issuedRecord } from "./issuer-audit.ts";
import type { IssuerLog } from "./issuer-log.ts";
import { bundlePages, publicPages } from "./public-pages.ts";
import { type PublicServer, serveBySvid, servePublic } from "./public-server.ts";
import type { RotatingX509Svid, X509Svids } from "./x509-svids.ts";

interface PublicPagesDeps {
  readonly authorities: Authorities;
  readonly svids: X509Svids;
  readonly clock: Clock;
  readonly log: IssuerLog;
  readonly audit: IssuerAudit;
}

/** Opens what `http` asks for: none, one or both of the server for OIDC and https_web, and the https_spiffe bundle endpoint. `http` is
 *  asked again for what may change. Rejects with CountersignError E_LISTEN. */
export async function servePublicPages(
  http: () => IssuerHttpConfig | undefined,
  { authorities, svids, clock, log, audit }: PublicPagesDeps,
): Promise<{
  /** Takes renewed certificate files. What goes wrong is in the log, and the old ones stay. */
  refresh(): void;
  close(): Promise<void>;
}> {
  const { listen, tls, bundleEndpoint } = http() ?? {};
  const current = (): Authorities["current"] => authorities.current;
  await using startup = new AsyncDisposableStack();
  const servers: PublicServer[] = [];
  const add = (name: string, server: PublicServer): void => {
    startup.defer(() => server.close());
    servers.push(server);
    log.info({ event: "listening", name, address: server.address });
  };
  if (listen !== undefined) {
    const answer = publicPages({ oidcIssuer: () => http()?.issuer, authorities: current });
    add("http", await servePublic(listen, tls, answer, { name: "http", clock, log }));
  }
  if (bundleEndpoint !== undefined) {
    const name = "bundle-endpoint";
    const svid = recordedSvid(bundleEndpoint.id, svids, audit);
    add(name, await serveBySvid(bundleEndpoint.listen, svid, bundlePages(current), { name, clock, log }));
  }
  const running = startup.move();
  return {
    refresh() {
      for (const server of servers) {
        try {
          server.refresh();
        } catch (error) {
          log.error({ event: "certificate.failed", error: String(error) });
        }
      }
    },
    close: () => running.disposeAsync(),
  };
}

/** The endpoint's own SVID is issued like others, with its record. */
function recordedSvid(id: SpiffeId, svids: X509Svids, audit: IssuerAudit): () => Promise<RotatingX509Svid> {
  const caller = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, pid: process.pid };
  return async () => {
    const svid = await svids.current(id, undefined);
    const { spiffeId, serial, notAfterMs } = svid;
    const detail = "for the bundle endpoint";
    audit.event(issuedRecord({ kind: "x509", caller, entry: undefined, spiffeId, serial, notAfterMs, detail }));
    return svid;
  };
}
