import { Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { matchesExpected } from "../../certs/expected-identity.ts";
import type { PeerVerifier } from "../../certs/peer-verifier.ts";
import { clientTlsOptions, readPeerChain } from "../../certs/tls-context.ts";
import type { Address, ExpectedIdentity } from "../../config/sidecar-config.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot, Peer, Svid } from "../../core/identity.ts";
import { type Deadlines, deadlineAfter, type HasDeadline } from "../deadlines.ts";
import { fairTurns } from "../fair-turns.ts";
import { newPlainSocket } from "../socket-reads.ts";
import { holdSvid } from "../svid-use.ts";

/** How to prove ourselves and what the server must prove. */
export interface DialIdentity {
  readonly svid: Svid;
  readonly snapshot: IdentitySnapshot;
  readonly expected: readonly ExpectedIdentity[];
  /** Offered names; empty: none (a plain TLS peer gets plain TLS). */
  readonly alpn: readonly string[];
}

export interface DialOptions {
  readonly address: Address;
  /** The name that `address` was found by, for the SNI; absent: the address's own host. */
  readonly serverName?: string | undefined;
  /** Local address to dial from, or undefined. */
  readonly source: string | undefined;
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly deadlines: Deadlines;
  readonly verifyPeer: PeerVerifier;
  /** undefined: plaintext, toward our own app. */
  readonly identity: DialIdentity | undefined;
}

export interface Dialed {
  readonly socket: Socket;
  /** The ALPN name that was agreed on, "" without one. */
  readonly alpn: string;
  /** Verified; undefined only for plaintext. */
  readonly peer: Peer | undefined;
  /** Its presented chain, to be verified again when a bundle changes. */
  readonly verifyAgain: ((snapshot: IdentitySnapshot, nowMs: number) => CountersignError | undefined) | undefined;
}

export type DialResult =
  | { readonly kind: "connected"; readonly dialed: Dialed }
  | { readonly kind: "failed"; readonly error: CountersignError; readonly noAlpn: boolean };

/** What a connection costs in the turns to come (connecting, being heard of, the first write, closing), milliseconds. */
const DIAL_MS = 1;

/** Opens one connection: TCP or Unix, then for a mesh peer TLS 1.3 with our SVID, and the proof that the server is who the
 *  configuration says, before a byte of any call is written. Calls `done` once. */
export function dial(options: DialOptions, done: (result: DialResult) => void): void {
  const { address, identity, deadlines } = options;
  const raw = identity === undefined ? newPlainSocket() : new Socket({ allowHalfOpen: true });
  if (address.kind === "unix") raw.connect({ path: address.path });
  else {
    const source = options.source === undefined ? {} : { localAddress: options.source };
    raw.connect({ host: address.host, port: address.port, ...source });
  }
  fairTurns.owe(DIAL_MS);
  let finished = false;
  let tls: TLSSocket | undefined;
  const where = addressText(address);
  const serverName = options.serverName ?? (address.kind === "tcp" ? address.host : "");
  const guard: HasDeadline & { deadlineMs: number } = {
    deadlineMs: deadlineAfter(options.connectTimeoutMs),
    onDeadline: () =>
      fail(
        tls === undefined
          ? new CountersignError(
              "E_UPSTREAM_CONNECT",
              `no connection to ${where} within ${options.connectTimeoutMs} ms`,
            )
          : new CountersignError(
              "E_UPSTREAM_HANDSHAKE",
              `no handshake with ${where} within ${options.handshakeTimeoutMs} ms`,
            ),
      ),
  };
  const settle = (result: DialResult): void => {
    if (finished) return;
    finished = true;
    deadlines.delete(guard);
    done(result);
  };
  const fail = (error: CountersignError, noAlpn = false): void => {
    if (finished) return;
    // never the raw socket under a TLS one: from inside a TLS event that would free what OpenSSL still uses
    (tls ?? raw).destroy();
    settle({ kind: "failed", error, noAlpn });
  };
  deadlines.add(guard);
  const onRawError = (error: Error): void => {
    if (tls !== undefined) return;
    fail(new CountersignError("E_UPSTREAM_CONNECT", `${where}: ${reasonOf(error)}`, { cause: error }));
  };
  raw.on("error", onRawError);
  const onRawClose = (): void =>
    fail(new CountersignError("E_UPSTREAM_CONNECT", `${where} closed the connection at once`));
  raw.once("close", onRawClose);
  raw.once("connect", () => {
    if (finished) return;
    if (address.kind === "tcp") {
      // here, and not as options of connect(), where Node ignores them: a small write would wait 40 ms for an acknowledgement
      raw.setNoDelay(true);
      raw.setKeepAlive(true, 30_000);
    }
    if (identity === undefined) {
      raw.removeListener("error", onRawError);
      raw.removeListener("close", onRawClose);
      settle({ kind: "connected", dialed: { socket: raw, alpn: "", peer: undefined, verifyAgain: undefined } });
      return;
    }
    guard.deadlineMs = deadlineAfter(options.handshakeTimeoutMs);
    const socket = connectTls({
      socket: raw,
      ...clientTlsOptions(identity.svid),
      ...(identity.alpn.length > 0 ? { ALPNProtocols: [...identity.alpn] } : {}),
      ...(serverName === "" || !isHostName(serverName) ? {} : { servername: serverName }),
    });
    tls = socket;
    const onTlsError = (error: Error): void => {
      const noAlpn = "code" in error && error.code === "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL";
      fail(new CountersignError("E_UPSTREAM_HANDSHAKE", `${where}: ${reasonOf(error)}`, { cause: error }), noAlpn);
    };
    const onTlsClose = (): void =>
      fail(new CountersignError("E_UPSTREAM_HANDSHAKE", `${where} closed the connection during the handshake`));
    socket.on("error", onTlsError);
    socket.once("close", onTlsClose);
    socket.once("secureConnect", () => {
      if (finished) return;
      const chain = readPeerChain(socket);
      const verify = (snapshot: IdentitySnapshot, nowMs: number): Peer | CountersignError => {
        const verdict = options.verifyPeer(chain, snapshot.bundles, nowMs);
        if (verdict.kind === "refused") return new CountersignError(verdict.code, `${where}: ${verdict.reason}`);
        if (!identity.expected.some((one) => matchesExpected(one, verdict.peer.spiffeId))) {
          const wanted = identity.expected.map((one) => one.pattern).join(" or ");
          return new CountersignError(
            "E_PEER_WRONG_IDENTITY",
            `${where} proved ${verdict.peer.spiffeId}, expected ${wanted}`,
          );
        }
        return verdict.peer;
      };
      const peer = verify(identity.snapshot, Date.now());
      if (peer instanceof CountersignError) {
        fail(peer);
        return;
      }
      socket.removeListener("error", onTlsError);
      socket.removeListener("close", onTlsClose);
      holdSvid(identity.svid, socket);
      raw.removeListener("close", onRawClose);
      raw.removeListener("error", onRawError);
      // the TLS socket reports the raw one's errors; without a listener one of them would end the process
      raw.on("error", ignoreError);
      const verifyAgain = (snapshot: IdentitySnapshot, nowMs: number): CountersignError | undefined => {
        const again = verify(snapshot, nowMs);
        return again instanceof CountersignError ? again : undefined;
      };
      settle({
        kind: "connected",
        dialed: { socket, alpn: typeof socket.alpnProtocol === "string" ? socket.alpnProtocol : "", peer, verifyAgain },
      });
    });
  });
}

function ignoreError(): void {
  // handled by the TLS socket above it
}

/** `host:port`, `[v6]:port` or `unix:/path`, for people and records. */
export function addressText(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** RFC 6066 section 3: an SNI is a DNS name, never an address. */
function isHostName(host: string): boolean {
  if (host.includes(":")) return false;
  const last = host.charCodeAt(host.length - 1);
  return !(last >= 0x30 && last <= 0x39);
}

/** Node's code (`ECONNREFUSED`) where there is one: short and stable; else the first line of its message. */
export function reasonOf(error: Error): string {
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return reasonOf(error.errors[0]);
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  if (code !== undefined) return code;
  return (error.message.split("\n", 1)[0] ?? "").slice(0, 200);
}
