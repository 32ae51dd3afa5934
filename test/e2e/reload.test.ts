import { describe, expect, it } from "vitest";
import { parseSidecarConfig } from "../../src/config/load-sidecar-config.ts";
import type { SidecarConfig } from "../../src/config/sidecar-config.ts";
import { startApp } from "../support/app.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { ORDERS, startTestSidecar, type TestSidecar } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

const HEAD = `workload: { namespace: shop, labels: { app: orders } }
identity: { files: { svid: svid.pem, key: svid.key, bundles: { example.org: bundle.pem } } }
`;

function configOf(text: string): SidecarConfig {
  return parseSidecarConfig(HEAD + text, "/test/countersign.yaml", {}).config;
}

/** Plain listeners with everything allowed: the reload is the subject, not identity. */
function listeners(...entries: { readonly name: string; readonly listen: string; readonly app: number }[]): string {
  const lines = entries.map(
    ({ name, listen, app }) =>
      `  - { name: ${name}, listen: "${listen}", app: "127.0.0.1:${app}", protocol: http, mtls: disable }`,
  );
  return `authorization: { default: allow }\ninbound:\n${lines.join("\n")}\n`;
}

async function start(config: string): Promise<TestSidecar> {
  const ca = createTestCa("example.org");
  const sidecar = await startTestSidecar({ ca, svid: ca.issue({ spiffeId: ORDERS }), config });
  atEnd(() => sidecar.sidecar.drain(0));
  return sidecar;
}

async function appSaying(text: string): Promise<number> {
  const app = await startApp((_, response) => response.end(text));
  atEnd(() => app.close());
  return app.port;
}

async function ask(port: number): Promise<string> {
  const client = await rawClient(port);
  client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  return client.closed();
}

describe("a reload of the configuration", () => {
  it("adds and removes listeners and leaves the others alone", async () => {
    const [a, b] = [await appSaying("from a"), await appSaying("from b")];
    const test = await start(listeners({ name: "a", listen: "127.0.0.1:0", app: a }));
    const kept = test.port("a");
    const open = await rawClient(kept);
    const both = listeners({ name: "a", listen: "127.0.0.1:0", app: a }, { name: "b", listen: "127.0.0.1:0", app: b });
    await test.sidecar.setConfig(configOf(both), test.compile(""));
    expect(test.port("a")).toBe(kept);
    expect(await ask(test.port("b"))).toContain("from b");
    const removed = test.port("b");
    await test.sidecar.setConfig(configOf(listeners({ name: "a", listen: "127.0.0.1:0", app: a })), test.compile(""));
    await expect(ask(removed)).rejects.toThrow(/ECONNREFUSED/);
    open.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await open.until((text) => text.endsWith("from a"));
  });

  it("gives an address to a changed listener without a gap", async () => {
    const [a, b] = [await appSaying("from a"), await appSaying("from b")];
    const test = await start(listeners({ name: "x", listen: "127.0.0.1:0", app: a }));
    const port = test.port("x");
    const fixed = (app: number): string => listeners({ name: "x", listen: `127.0.0.1:${port}`, app });
    await test.sidecar.setConfig(configOf(fixed(a)), test.compile(""));
    await test.sidecar.setConfig(configOf(fixed(b)), test.compile(""));
    expect(await ask(port)).toContain("from b");
  });

  it("that cannot open a listener changes nothing", async () => {
    const a = await appSaying("from a");
    const test = await start(listeners({ name: "a", listen: "127.0.0.1:0", app: a }));
    const port = test.port("a");
    const bad = listeners({ name: "a", listen: "127.0.0.1:0", app: a }, { name: "b", listen: "192.0.2.1:1", app: a });
    await expect(test.sidecar.setConfig(configOf(bad), test.compile(""))).rejects.toMatchObject({ code: "E_LISTEN" });
    expect(test.sidecar.listeners.map(({ name }) => name)).toEqual(["a"]);
    expect(await ask(port)).toContain("from a");
  });

  it("that trusts a proxy no longer reaches its open connections", async () => {
    const a = await appSaying("from a");
    const policies = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: clients, namespace: shop }
spec: { rules: [{ from: [{ source: { remoteIpBlocks: [203.0.113.0/24] } }] }] }
`;
    const text = listeners({ name: "a", listen: "127.0.0.1:0", app: a });
    const test = await start(`${text}trustedProxies: [127.0.0.1/32]\n`);
    test.setPolicies(policies);
    const client = await rawClient(test.port("a"));
    const request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n";
    client.send(request);
    await client.until((received) => received.endsWith("from a"));
    await test.sidecar.setConfig(configOf(text), test.compile(policies));
    client.send(request);
    await client.until((received) => received.includes("HTTP/1.1 403 Forbidden"));
  });
});
