import { isIP } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { CountersignError } from "../../core/errors.ts";
import type { TrustBundle } from "../../core/identity.ts";
import { type SpiffeId, type TrustDomain, trustDomainOf } from "../../core/spiffe-id.ts";
import { readPeerChain } from "../tls-context.ts";
import { verifyPeerChain } from "../verify-peer.ts";

/** How a bundle endpoint proves itself (SPIFFE Federation section 5.2): by a web certificate for its host, or by an X.509-SVID. */
export type EndpointProfile =
  | {
      readonly kind: "https_web";
      /** PEM; undefined: the public roots that Node knows. */
      readonly roots: string | undefined;
    }
  | { readonly kind: "https_spiffe"; readonly endpointId: SpiffeId };

export interface FetchOptions {
  /** https only, without user info. */
  readonly url: URL;
  readonly profile: EndpointProfile;
  /** For https_spiffe: the current bundle of a trust domain. */
  readonly bundleOf: (trustDomain: TrustDomain) => TrustBundle | undefined;
  readonly nowMs: number;
  readonly signal: AbortSignal;
}

/** Largest document that is read. */
const MAX_DOCUMENT_BYTES = 1024 * 1024;
const HTTPS_PORT = 443;

/** Gets the document of a bundle endpoint over a connection of its own. The endpoint has proven itself before a byte of
 *  the request is sent. Redirects are not followed: the place that was configured is the place that is trusted.
 *  Rejects with CountersignError E_FEDERATION_*. */
export async function fetchBundleDocument(options: FetchOptions): Promise<string> {
  const { url, profile, signal } = options;
  const secure =
    profile.kind === "https_spiffe" ? spiffeHandshake(options, profile.endpointId) : webHandshake(profile.roots);
  // Only a process that federates carries the HTTP client.
  const { Client, errors } = await import("undici");
  const client = new Client(url.origin, {
    connect: ({ hostname, port }, callback) => open(hostname, Number(port) || HTTPS_PORT, secure, signal, callback),
    pipelining: 0,
    maxResponseSize: MAX_DOCUMENT_BYTES,
  });
  try {
    const { statusCode, headers, body } = await client.request({
      method: "GET",
      path: `${url.pathname}${url.search}`,
      headers: { accept: "application/json", "user-agent": "countersign" },
      signal,
    });
    if (statusCode !== 200) {
      await body.dump({ limit: 0, signal }).catch(() => undefined);
      throw new CountersignError("E_FEDERATION_ANSWER", `${shown(url)} answered with HTTP status ${statusCode}`);
    }
    const { "content-encoding": encoding = "identity" } = headers;
    if (encoding !== "identity")
      throw new CountersignError(
        "E_FEDERATION_ANSWER",
        `${shown(url)} answered in a content encoding nobody asked for`,
      );
    return await body.text();
  } catch (error) {
    const isTooLarge = error instanceof errors.ResponseExceededMaxSizeError;
    throw isTooLarge ? tooLarge(url) : explained(error, url, signal);
  } finally {
    await client.destroy();
  }
}

interface Handshake {
  readonly options: ConnectionOptions;
  /** Why the server is not who it should be. */
  readonly check: (socket: TLSSocket) => CountersignError | undefined;
}

function webHandshake(roots: string | undefined): Handshake {
  return {
    options: { rejectUnauthorized: true, ...(roots === undefined ? {} : { ca: roots }) },
    check: () => undefined,
  };
}

function spiffeHandshake({ url, bundleOf, nowMs }: FetchOptions, endpointId: SpiffeId): Handshake {
  const trustDomain = trustDomainOf(endpointId);
  const bundle = bundleOf(trustDomain);
  if (bundle === undefined)
    throw new CountersignError(
      "E_FEDERATION_BOOTSTRAP",
      `there is no bundle of ${trustDomain} to verify ${endpointId} with`,
    );
  return {
    // Node trusts nobody by itself; the check below does.
    options: { rejectUnauthorized: false, ca: [] },
    check(socket) {
      const verdict = verifyPeerChain(readPeerChain(socket), new Map([[trustDomain, bundle]]), nowMs);
      if (verdict.kind === "refused")
        return new CountersignError("E_FEDERATION_IDENTITY", `${shown(url)}: ${verdict.code} ${verdict.reason}`);
      if (verdict.peer.spiffeId === endpointId) return undefined;
      const wrong = `${shown(url)} proved ${verdict.peer.spiffeId}, expected ${endpointId}`;
      return new CountersignError("E_FEDERATION_IDENTITY", wrong);
    },
  };
}

type Opened = (...result: [Error, null] | [null, TLSSocket]) => void;

function open(
  hostname: string,
  port: number,
  { options, check }: Handshake,
  signal: AbortSignal,
  callback: Opened,
): void {
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const socket = connectTls({
    ...options,
    host,
    port,
    // RFC 6066 section 3: an address is no server name
    ...(isIP(host) === 0 ? { servername: host } : {}),
    minVersion: "TLSv1.2",
    ALPNProtocols: ["http/1.1"],
  });
  let isSettled = false;
  const settle = (...result: Parameters<Opened>): void => {
    if (isSettled) return;
    isSettled = true;
    signal.removeEventListener("abort", onAbort);
    if (result[0] !== null) socket.destroy();
    callback(...result);
  };
  const onAbort = (): void => settle(new Error("aborted"), null);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  socket.on("error", (error) => settle(error, null));
  socket.once("close", () => settle(new Error("the connection was closed during the handshake"), null));
  socket.once("secureConnect", () => {
    const problem = check(socket);
    if (problem === undefined) settle(null, socket);
    else settle(problem, null);
  });
}

function tooLarge(url: URL): CountersignError {
  return new CountersignError(
    "E_FEDERATION_TOO_LARGE",
    `${shown(url)} answered with more than ${MAX_DOCUMENT_BYTES} bytes`,
  );
}

function explained(error: unknown, url: URL, signal: AbortSignal): CountersignError {
  if (error instanceof CountersignError) return error;
  const where = shown(url);
  if (signal.aborted)
    return new CountersignError("E_FEDERATION_UNREACHABLE", `${where} did not answer in time`, { cause: error });
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (/CERT|TLS|SSL|ERR_SSL|SELF_SIGNED|ALTNAME|ISSUER|LEAF_SIGNATURE/.test(code))
    return new CountersignError("E_FEDERATION_TLS", `${where}: ${code}`, { cause: error });
  const reason = code === "" && error instanceof Error ? (error.message.split("\n", 1)[0] ?? "").slice(0, 200) : code;
  return new CountersignError("E_FEDERATION_UNREACHABLE", `${where}: ${reason}`, { cause: error });
}

/** Query values may be somebody's secret. */
function shown({ origin, pathname }: URL): string {
  return `${origin}${pathname}`.slice(0, 300);
}
