import type { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import { afterEach, expect, test } from "vitest";
import { createTestCa, type TestIssued, testSvid } from "../../test/support/cert-factory.ts";
import type { Svid } from "../core/identity.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { clientTlsOptions, readPeerChain, serverTlsOptions } from "./tls-context.ts";
import { verifyPeerChain } from "./verify-peer.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

interface Handshake {
  readonly client: TLSSocket;
  readonly server: TLSSocket;
}

/** A TLS server that keeps what each connection presented, and says hello so that clients see an accepted handshake. */
async function startServer(svid: Svid): Promise<{
  handshake(client: Svid | undefined, extra?: { session?: Buffer; maxVersion?: "TLSv1.2" }): Promise<Handshake>;
}> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("not a TCP server");
  return {
    async handshake(own, extra = {}) {
      const accepted = once(server, "connection") as Promise<[Socket]>;
      const raw = connectTcp(address.port, "127.0.0.1");
      const options = own === undefined ? { rejectUnauthorized: false } : clientTlsOptions(own);
      const client = connectTls({ socket: raw, ...options, ...extra });
      cleanups.push(() => client.destroy());
      const [socket] = await accepted;
      const tls = new TLSSocket(socket, { isServer: true, ...serverTlsOptions(svid) });
      cleanups.push(() => tls.destroy());
      const failed = Promise.race([once(client, "error"), once(tls, "error")]).then(([error]) => Promise.reject(error));
      await Promise.race([Promise.all([once(tls, "secure"), once(client, "secureConnect")]), failed]);
      failed.catch(() => undefined);
      return { client, server: tls };
    },
  };
}

const rawOf = (chain: readonly X509Certificate[]): string[] => chain.map(({ raw }) => raw.toString("hex"));
const hexOf = (issued: TestIssued): string[] => issued.chainDer.map((der) => der.toString("hex"));

test("both sides see exactly the chain that was presented, in order", async () => {
  const ca = createTestCa("example.org");
  const alice = ca.intermediate().intermediate().issue({ spiffeId: "spiffe://example.org/alice" });
  const bob = ca.intermediate().issue({ spiffeId: "spiffe://example.org/bob", keyType: "Ed25519" });
  const server = await startServer(testSvid(bob));
  const { client, server: accepted } = await server.handshake(testSvid(alice));
  expect(rawOf(readPeerChain(accepted))).toEqual(hexOf(alice));
  expect(rawOf(readPeerChain(client))).toEqual(hexOf(bob));
  expect(client.getProtocol()).toBe("TLSv1.3");
});

test("a client without a certificate presents an empty chain, which verification refuses", async () => {
  const ca = createTestCa("example.org");
  const server = await startServer(testSvid(ca.issue()));
  const { server: accepted } = await server.handshake(undefined);
  expect(readPeerChain(accepted)).toEqual([]);
  expect(verifyPeerChain(readPeerChain(accepted), new Map(), Date.now())).toMatchObject({
    kind: "refused",
    code: "E_PEER_NO_CERTIFICATE",
  });
});

test("a leaf that names one trust domain and is signed by another's CA is refused over a real handshake", async () => {
  const own = createTestCa("example.org");
  const partner = createTestCa("partner.org");
  const bundles = new Map([own, partner].map((ca) => [parseTrustDomain(ca.trustDomain), ca.trustBundle()]));
  const server = await startServer(testSvid(own.issue()));
  const forged = await server.handshake(testSvid(partner.issue({ spiffeId: "spiffe://example.org/ns/shop/sa/web" })));
  expect(verifyPeerChain(readPeerChain(forged.server), bundles, Date.now())).toMatchObject({
    kind: "refused",
    code: "E_CHAIN_UNTRUSTED",
    claimed: "spiffe://example.org/ns/shop/sa/web",
  });
  const honest = await server.handshake(testSvid(partner.issue({ spiffeId: "spiffe://partner.org/web" })));
  expect(verifyPeerChain(readPeerChain(honest.server), bundles, Date.now())).toMatchObject({ kind: "verified" });
});

test("a session is not resumable: neither with nor without a certificate", async () => {
  const ca = createTestCa("example.org");
  const server = await startServer(testSvid(ca.issue()));
  const client = testSvid(ca.issue());
  const first = await server.handshake(client);
  const sessions: Buffer[] = [];
  first.client.on("session", (session: Buffer) => sessions.push(session));
  first.client.resume();
  // Tickets come before the first byte of data.
  first.server.write("hello");
  await once(first.client, "data");
  expect(sessions.length).toBeGreaterThan(0);
  for (const session of sessions) {
    const again = await server.handshake(client, { session });
    expect(again.client.isSessionReused()).toBe(false);
    expect(again.server.isSessionReused()).toBe(false);
    expect(readPeerChain(again.server)).toHaveLength(1);
    const anonymous = await server.handshake(undefined, { session });
    expect(anonymous.server.isSessionReused()).toBe(false);
    expect(readPeerChain(anonymous.server)).toEqual([]);
  }
});

test("TLS 1.2 is refused", async () => {
  const ca = createTestCa("example.org");
  const server = await startServer(testSvid(ca.issue()));
  await expect(server.handshake(undefined, { maxVersion: "TLSv1.2" })).rejects.toMatchObject({
    code: expect.stringMatching(/^ERR_SSL_/),
  });
});

test("one SVID has one context, the next SVID another", () => {
  const ca = createTestCa("example.org");
  const svid = testSvid(ca.issue());
  expect(serverTlsOptions(svid).secureContext).toBe(clientTlsOptions(svid).secureContext);
  expect(serverTlsOptions(testSvid(ca.issue())).secureContext).not.toBe(serverTlsOptions(svid).secureContext);
});
