import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { readPeerChain, serverTlsOptions } from "../certs/tls-context.ts";
import type { InboundConfig } from "../config/sidecar-config.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentitySnapshot, Peer, Svid } from "../core/identity.ts";
import { currentSvid, type Runtime } from "./runtime.ts";
import { holdSvid } from "./svid-use.ts";
import { TUNNEL_ALPN } from "./tunnel-names.ts";
import { reasonOf } from "./upstream/dial.ts";

/** A caller that has proven who it is. */
export interface SecuredCaller {
  readonly peer: Peer;
  /** What this side showed. */
  readonly svid: Svid;
  /** The name that was agreed on, "" without one. */
  readonly alpn: string;
  /** Holds the caller's chain against another snapshot. */
  readonly verifyAgain: (snapshot: IdentitySnapshot, nowMs: number) => CountersignError | undefined;
}

export interface HandshakeOwner {
  onSecured(tls: TLSSocket, caller: SecuredCaller): void;
  /** The socket is still open. `shown`: what this side has proven to a caller that proved too little. */
  onRefused(error: CountersignError, shown: { readonly tls: TLSSocket; readonly svid: Svid } | undefined): void;
}

/** The server's side of a mutual TLS handshake on a socket that nobody listens to: the caller's chain is verified before a byte of it is read or
 *  written. Tells its owner later and once, unless the socket closes before. From now on the TLS socket is the one to end: closing the
 *  raw one under it, from inside a TLS event, would free what OpenSSL still uses. */
export function takeHandshake(
  runtime: Runtime,
  { protocol, svidHint }: InboundConfig,
  raw: Socket,
  svid: Svid,
  owner: HandshakeOwner,
): TLSSocket {
  const tls = new TLSSocket(raw, {
    isServer: true,
    ...serverTlsOptions(svid),
    ALPNCallback: ({ protocols }: { protocols: string[] }) => chooseAlpn(protocol, protocols),
  });
  const onError = (error: Error): void => {
    owner.onRefused(new CountersignError("E_TLS_HANDSHAKE", reasonOf(error), { cause: error }), undefined);
  };
  tls.once("error", onError);
  tls.once("secure", () => {
    if (tls.destroyed) return;
    tls.removeListener("error", onError);
    tls.on("error", IGNORED);
    const chain = readPeerChain(tls);
    // by what is trusted now, not by what was when the handshake began
    const now = currentSvid(runtime, svidHint);
    if (now instanceof CountersignError) {
      owner.onRefused(now, undefined);
      return;
    }
    const verdict = runtime.verifyPeer(chain, now.snapshot.bundles, Date.now());
    if (verdict.kind === "refused") {
      const claimed = verdict.claimed === undefined ? "" : ` (claimed ${verdict.claimed})`;
      owner.onRefused(new CountersignError(verdict.code, verdict.reason + claimed), { tls, svid });
      return;
    }
    holdSvid(svid, tls);
    const alpn: unknown = tls.alpnProtocol;
    owner.onSecured(tls, {
      peer: verdict.peer,
      svid,
      alpn: typeof alpn === "string" ? alpn : "",
      verifyAgain(newer, nowMs) {
        const again = runtime.verifyPeer(chain, newer.bundles, nowMs);
        return again.kind === "refused" ? new CountersignError("E_PEER_NO_LONGER_TRUSTED", again.reason) : undefined;
      },
    });
  });
  return tls;
}

const IGNORED = (): void => undefined;

/** The name to agree on (RFC 7301); undefined: the handshake fails. Configuration outranks what is offered: a TCP listener takes whatever name
 *  comes. */
export function chooseAlpn(protocol: InboundConfig["protocol"], offered: readonly string[]): string | undefined {
  if (offered.includes(TUNNEL_ALPN)) return TUNNEL_ALPN;
  if (protocol === "tcp") return offered[0];
  if (offered.includes("h2")) return "h2";
  if (offered.includes("http/1.1")) return "http/1.1";
  return protocol === "auto" ? offered[0] : undefined;
}
