import type { Address } from "../config/sidecar-config.ts";
import { CountersignError } from "../core/errors.ts";
import { type ControlServer, type Page, type Routes, startControlServer } from "./control-server.ts";
import type { StatusDocument } from "./status-document.ts";

/** What the control pages read; functions, so that the pages know nothing of the parts behind them. */
export interface AdminProviders {
  readonly status: () => StatusDocument | Promise<StatusDocument>;
  /** The metrics page; needed where `metrics` has an address. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
  /** A page that could not be made, or a server that has a problem. */
  readonly onError: (error: unknown) => void;
}

export interface AdminAddresses {
  /** A Unix socket; only its owner may connect. */
  readonly admin: Address | undefined;
  readonly health: Address | undefined;
  readonly metrics: Address | undefined;
}

export interface RunningAdmin {
  /** As bound. */
  readonly addresses: AdminAddresses;
  close(): Promise<void>;
}

const JSON_TYPE = "application/json";
const TEXT = "text/plain; charset=utf-8";

/** Starts the control pages that have an address: admin (`/status`), health (`/livez`, `/readyz`), metrics (`/metrics`).
 *  Rejects with CountersignError E_LISTEN, or E_CONFIG_UNSUPPORTED for an admin address on TCP; then none is open. */
export async function startAdmin(addresses: AdminAddresses, providers: AdminProviders): Promise<RunningAdmin> {
  if (addresses.admin?.kind === "tcp")
    throw new CountersignError("E_CONFIG_UNSUPPORTED", "the admin page on TCP is not built yet", {
      fix: "write admin: { listen: unix:///path }",
    });
  const servers: ControlServer[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.close()));
  };
  async function open(address: Address | undefined, routes: Routes): Promise<Address | undefined> {
    if (address === undefined) return undefined;
    const server = await startControlServer(address, routes, providers.onError);
    servers.push(server);
    return server.address;
  }
  try {
    const bound = {
      admin: await open(addresses.admin, { "/status": async () => json(200, await providers.status()) }),
      health: await open(addresses.health, {
        "/livez": () => ({ status: 200, contentType: TEXT, body: "ok\n" }),
        "/readyz": async ({ local }) => readiness(await providers.status(), local),
      }),
      metrics: await open(addresses.metrics, {
        "/metrics": async () => ({ status: 200, ...(await providers.metrics()) }),
      }),
    };
    return { addresses: bound, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The reasons name files, identities and peers: they are for this machine only. */
function readiness({ ready, reasons }: StatusDocument, local: boolean): Page {
  const status = ready ? 200 : 503;
  if (local) return json(status, { ready, reasons });
  return { status, contentType: TEXT, body: ready ? "ready\n" : "not ready\n" };
}

function json(status: 200 | 503, value: unknown): Page {
  return { status, contentType: JSON_TYPE, body: `${JSON.stringify(value)}\n` };
}
