import { createServer as createTlsServer } from "node:tls";
import { describe, expect, it } from "vitest";
import { CountersignError } from "../../src/core/errors.ts";
import { startTcpApp } from "../support/app.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { ALLOW_WEB, type Mesh, type MeshOptions, ORDERS, startMesh, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { tlsClient } from "../support/tls-client.ts";
import { startWeb } from "../support/upstream-servers.ts";

async function mesh(
  handler: Parameters<typeof startTcpApp>[0],
  options: Omit<MeshOptions, "appPort"> = {},
): Promise<Mesh> {
  const app = await startTcpApp(handler);
  atEnd(() => app.close());
  const made = await startMesh({ protocol: "tcp", ...options, appPort: app.port });
  atEnd(() => made.close());
  return made;
}

describe("a TCP connection", () => {
  it("is relayed both ways with half-close, as one call", async () => {
    const { port, inbound, outbound } = await mesh((socket) => {
      let got = "";
      socket.on("data", (chunk: Buffer) => {
        got += chunk.toString();
      });
      socket.on("end", () => socket.end(`you said ${got}`));
    });
    const client = await rawClient(port);
    client.send("hel");
    client.send("lo");
    client.socket.end();
    expect(await client.closed()).toBe("you said hello");
    const record = await inbound.audit.next(() => true);
    expect(record).toMatchObject({
      kind: "connection",
      protocol: "tcp",
      decision: "allow",
      bytesIn: 5,
      bytesOut: 14,
      close: "ended",
      rule: "ns[shop]-policy[web]-rule[0]",
    });
    expect(record.connection.source?.spiffeId).toBe(WEB);
    expect((await outbound.audit.next(() => true)).destination?.spiffeId).toBe(ORDERS);
    expect(inbound.audit.notes).toMatchObject([{ phase: "start" }]);
  });

  it("loses nothing of what a caller sends together with the end of its handshake", async () => {
    const { meshPort, ca } = await mesh((socket) =>
      socket.on("data", (chunk: Buffer) => socket.end(`you said ${chunk.toString()}`)),
    );
    const client = await tlsClient(meshPort, ca.issue({ spiffeId: WEB }));
    client.send("hello"); // in the turn of its Finished: one read for the sidecar
    expect(await client.closed()).toBe("you said hello");
  });

  it("reaches a plain TLS server that refuses our ALPN names: it is asked once, and dialled without from then on", async () => {
    const ca = createTestCa("example.org");
    const { chainPem, keyPem } = ca.issue({ spiffeId: ORDERS });
    let offers = 0;
    const refuse = (): undefined => {
      offers++;
      return undefined;
    };
    const options = { cert: chainPem, key: keyPem, requestCert: true, rejectUnauthorized: false, ALPNCallback: refuse };
    const server = createTlsServer(options, (socket) => socket.end("plain TLS"));
    server.on("tlsClientError", () => undefined);
    atEnd(() => new Promise((resolve) => server.close(resolve)));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const at = typeof address === "object" ? `127.0.0.1:${address?.port}` : "";
    const web = await startWeb(ca, [at], { protocol: "tcp" });
    atEnd(() => web.sidecar.drain(0));
    for (const expected of [1, 1]) {
      expect(await (await rawClient(web.port("out"))).closed()).toBe("plain TLS");
      expect(offers).toBe(expected);
    }
    // that it speaks no such names is no failure
    expect(web.sidecar.listeners[0]?.upstream.endpoints).toMatchObject([{ state: "healthy", failures: 0 }]);
  });

  it("lets the server speak first on a port whose protocol is auto", async () => {
    const { port } = await mesh((socket) => socket.write("220 ready\r\n"), {
      protocol: "auto",
      both: "timeouts: { classify: 50ms }",
    });
    const client = await rawClient(port);
    expect(await client.until((text) => text.endsWith("\n"))).toBe("220 ready\r\n");
  });

  it("is refused before a byte reaches the app when policy denies it", async () => {
    let connected = 0;
    const { port, inbound } = await mesh(
      () => {
        connected++;
      },
      { policies: ALLOW_WEB.replace("sa/web", "sa/other") },
    );
    const client = await rawClient(port);
    client.send("hello");
    expect(await client.closed()).toBe("");
    expect(await inbound.audit.next(() => true)).toMatchObject({
      decision: "deny",
      reason: "E_POLICY_DENIED_BY_DEFAULT",
    });
    expect(connected).toBe(0);
  });

  it("ends when a new policy no longer allows it", async () => {
    const { port, inbound } = await mesh((socket) => socket.on("data", (chunk: Buffer) => socket.write(chunk)));
    const client = await rawClient(port);
    client.send("a");
    await client.until((text) => text === "a");
    inbound.setPolicies(ALLOW_WEB.replace("sa/web", "sa/other"));
    await client.closed();
    expect(await inbound.audit.next(() => true)).toMatchObject({
      decision: "deny",
      close: "E_POLICY_DENIED_BY_DEFAULT",
    });
  });

  const endings: readonly (readonly [string, string, (made: Mesh) => void])[] = [
    [
      "when our identity is revoked",
      "E_IDENTITY_EXPIRED",
      ({ outbound }) =>
        outbound.identity.set({ kind: "revoked", problem: new CountersignError("E_IDENTITY_EXPIRED", "gone") }),
    ],
    [
      "when the server's trust domain is no longer trusted",
      "E_PEER_NO_LONGER_TRUSTED",
      ({ outbound, ca }) => outbound.identity.serve(ca.issue({ spiffeId: WEB }), [createTestCa("example.org")]),
    ],
  ];
  it.each(endings)("ends at the caller's side %s", async (_, close, change) => {
    const made = await mesh((socket) => socket.on("data", (chunk: Buffer) => socket.write(chunk)));
    const client = await rawClient(made.port);
    client.send("a");
    await client.until((text) => text === "a");
    change(made);
    await client.closed();
    expect(await made.outbound.audit.next(() => true)).toMatchObject({ close });
  });

  it("ends with our SVID", async () => {
    const made = await mesh((socket) => socket.on("data", (chunk: Buffer) => socket.write(chunk)));
    const { ca, outbound } = made;
    outbound.identity.serve(ca.issue({ spiffeId: WEB, notAfter: Date.now() + 2000 }), [ca]);
    const client = await rawClient(made.port);
    client.send("a");
    await client.until((text) => text === "a");
    await client.closed();
    const record = await outbound.audit.next(() => true);
    expect(record.durationMs).toBeLessThan(3500);
  });

  it("is refused on an auto port where policies read HTTP and the caller doesn't speak it", async () => {
    const policies = ALLOW_WEB.replace("/sa/web] } }]", '/sa/web] } }]\n      to: [{ operation: { paths: ["/x"] } }]');
    const { port, inbound } = await mesh(() => undefined, { protocol: "auto", policies });
    const client = await rawClient(port);
    client.send("\x00\x01binary");
    await client.closed();
    expect((await inbound.audit.next(() => true)).reason).toBe("E_CLASSIFY");
  });

  it("carries megabytes unharmed and holds a sender back while the reader rests", async () => {
    const size = 24 * 1024 * 1024;
    let sent = 0;
    const { port } = await mesh((socket) => {
      const chunk = Buffer.alloc(64 * 1024, "x");
      const pump = (): void => {
        while (sent < size) {
          sent += chunk.length;
          if (!socket.write(chunk)) {
            socket.once("drain", pump);
            return;
          }
        }
        socket.end();
      };
      pump();
    });
    const client = await rawClient(port);
    client.socket.pause();
    // the sender stops once every buffer on the way is full: wait until it has not moved between two looks
    let before = -1;
    await new Promise<void>((resolve) => {
      const look = setInterval(() => {
        if (sent === before && sent > 0) {
          clearInterval(look);
          resolve();
        }
        before = sent;
      }, 300);
    });
    expect(sent).toBeLessThan(size);
    let received = 0;
    client.socket.removeAllListeners("data");
    client.socket.on("data", (chunk: Buffer) => {
      received += chunk.length;
    });
    client.socket.resume();
    await new Promise((resolve) => client.socket.once("end", resolve));
    expect(received).toBe(size);
  });
});
