import { connect } from "node:tls";
import { expect, it } from "vitest";
import { createTestCa } from "../support/cert-factory.ts";
import { startTlsApp } from "../support/egress.ts";
import { ORDERS, startMesh } from "../support/mesh.ts";
import { wrapRawClient } from "../support/raw-client.ts";

it.each(["auto", "tcp"])("an app that speaks TLS itself passes as bytes inside ours, protocol %s", async (protocol) => {
  const app = await startTlsApp(createTestCa("app.test"));
  const mesh = await startMesh({ appPort: app.port, protocol });
  try {
    const tls = connect({ port: mesh.port, host: "127.0.0.1", servername: "own.example", rejectUnauthorized: false });
    const client = wrapRawClient(tls);
    client.send("hello");
    expect(await client.until((text) => text.endsWith("hello"))).toBe("tls:hello");
    // its TLS ends at the server behind both sidecars
    expect(app.names).toEqual(["own.example"]);
    tls.destroy();
    expect(await mesh.outbound.audit.next(() => true)).toMatchObject({
      kind: "connection",
      protocol: "tcp",
      destination: { spiffeId: ORDERS },
    });
    expect(await mesh.inbound.audit.next(() => true)).toMatchObject({ kind: "connection", decision: "allow" });
  } finally {
    await mesh.close();
    await app.close();
  }
});
