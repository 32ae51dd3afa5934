import { constants, type X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import type { Svid } from "../core/identity.ts";
import { MAX_CHAIN_LENGTH } from "./judge-chain.ts";

/** What `new TLSSocket(raw, { isServer: true, … })` needs besides ALPN. */
export interface ServerTlsOptions {
  readonly secureContext: SecureContext;
  readonly requestCert: true;
  readonly rejectUnauthorized: false;
}

/** What `tls.connect({ socket: raw, … })` needs besides ALPN and the server name. */
export interface ClientTlsOptions {
  readonly secureContext: SecureContext;
  readonly rejectUnauthorized: false;
}

const contexts = new WeakMap<Svid, SecureContext>();

/** Node itself trusts nobody here and refuses nobody: it would take bundles of several trust domains for one. The
 *  caller must verify readPeerChain by verifyPeerChain in the `secure` event, before a byte is read or written. */
export function serverTlsOptions(svid: Svid): ServerTlsOptions {
  return { secureContext: contextOf(svid), requestCert: true, rejectUnauthorized: false };
}

/** The same for the client's side. No session is ever passed, so none is resumed. */
export function clientTlsOptions(svid: Svid): ClientTlsOptions {
  return { secureContext: contextOf(svid), rejectUnauthorized: false };
}

/** One context for each SVID (0.5 ms to make), so that a rotation is just another value for new connections. */
function contextOf(svid: Svid): SecureContext {
  let context = contexts.get(svid);
  if (context === undefined) {
    context = createSecureContext({
      cert: svid.chainPem,
      key: svid.key.export({ type: "pkcs8", format: "pem" }),
      // All of TLS 1.3's suites; AES-128 first, the cheapest where there is AES in hardware.
      ciphers: "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
      honorCipherOrder: true,
      // Empty, not absent: an absent `ca` means the public roots.
      ca: [],
      minVersion: "TLSv1.3",
      maxVersion: "TLSv1.3",
      // A resumed session would speak for a certificate that was not presented. OpenSSL still sends tickets under TLS 1.3
      // with this option, but they hold no state: offering one ends in a full handshake.
      secureOptions: constants.SSL_OP_NO_TICKET,
    });
    contexts.set(svid, context);
  }
  return context;
}

/** The certificates that the peer presented, in its order, leaf first; empty if it presented none. Never a rebuilt path:
 *  getPeerCertificate would add and drop certificates. Bounded to one more than is looked at. */
export function readPeerChain(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next = socket.getPeerX509Certificate();
  while (next !== undefined && chain.length <= MAX_CHAIN_LENGTH) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}
