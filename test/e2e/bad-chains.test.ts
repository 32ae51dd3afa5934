// Every bad chain that a TLS client can present at all, presented to a listener: refused with its own reason before a byte
// of the call reaches the app. And the other way round, by a server.
import type { KeyObject, X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect, createServer, type SecureContextOptions, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { ErrorCode } from "../../src/core/error-codes.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { badChains, unusualChains } from "../support/chain-tables.ts";
import { eventually } from "../support/eventually.ts";
import { ORDERS, startTestSidecar, type TestSidecar } from "../support/mesh.ts";
import { bundles, id, keyOfChain, nowMs, root } from "../support/peer-chains.ts";
import { rawClient } from "../support/raw-client.ts";

/** Keys that TLS 1.3 has no signature for, so that no chain with them is ever presented. */
const UNSIGNABLE = /P-224|secp256k1|Ed448|explicit curve parameters|RSA-PSS/;

let app: TestApp;
let inbound: TestSidecar;
let outbound: TestSidecar;
let server: ReturnType<typeof createServer>;

beforeAll(async () => {
  // Certificates of the tables are of that time; only what reads the wall clock is moved.
  vi.useFakeTimers({ toFake: ["Date"], now: nowMs });
  app = await startApp((_request, response) => response.end("ok"));
  inbound = await startTestSidecar({
    ca: root,
    svid: undefined,
    config: `authorization: { default: allow }
inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }]
`,
  });
  server = createServer({ ...pemOf([root.certificate], root.key), ciphers: WEAK }, (socket) => {
    socket.on("error", () => undefined);
    socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
  });
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  outbound = await startTestSidecar({
    ca: root,
    svid: undefined,
    config: `outbound: [{ name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${port}"], identity: "${id}", protocol: http }]
`,
  });
  for (const { identity } of [inbound, outbound]) {
    identity.serve(root.issue({ spiffeId: ORDERS, notAfter: nowMs + 3_600_000 }), [root]);
    const { state } = identity;
    if (state.kind === "serving") identity.set({ ...state, snapshot: { ...state.snapshot, bundles } });
  }
});
afterAll(async () => {
  server.close();
  await Promise.all([inbound.sidecar.drain(0), outbound.sidecar.drain(0)]);
  await app.close();
  vi.useRealTimers();
});
beforeEach(() => {
  vi.setSystemTime(nowMs); // waitFor moves it on
});

/** Lets OpenSSL present what it would not: keys that are too small, hashes that are too weak. */
const WEAK = "DEFAULT@SECLEVEL=0";

function pemOf(chain: readonly X509Certificate[], key: KeyObject): SecureContextOptions {
  return {
    cert: chain.map((certificate) => certificate.toString()).join(""),
    key: key.export({ type: "pkcs8", format: "pem" }),
    ciphers: WEAK,
  };
}
/** What can be presented of a chain, or undefined where no TLS program could. */
function presentable(chain: readonly X509Certificate[], what: string): SecureContextOptions | undefined {
  if (chain.length === 0) return { ciphers: WEAK };
  const key = keyOfChain(chain);
  return key === undefined || UNSIGNABLE.test(what) ? undefined : pemOf(chain, key);
}

/** Presents a chain to the inbound listener and sends a request; resolves with what came back. */
async function callInbound(options: SecureContextOptions): Promise<string> {
  const socket: TLSSocket = connect({
    ...options,
    host: "127.0.0.1",
    port: inbound.port("in"),
    rejectUnauthorized: false,
  });
  let received = "";
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
  });
  socket.on("error", () => undefined);
  socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await closed(socket);
  return received;
}
function closed(socket: Socket): Promise<unknown> {
  return socket.destroyed ? Promise.resolve() : new Promise((resolve) => socket.once("close", resolve));
}

const rows = badChains.flatMap(([what, code, make]): [string, ErrorCode, SecureContextOptions][] => {
  const options = presentable(make(), what);
  return options === undefined ? [] : [[what, code, options]];
});

test("nearly all of the table can be presented", () => {
  expect(rows.length).toBeGreaterThanOrEqual(70);
});

describe("an inbound listener refuses", () => {
  test.each(rows)("%s: %s", async (_what, code, options) => {
    const before = app.requests.length;
    const recorded = inbound.audit.ended.length;
    expect(await callInbound(options)).toBe("");
    await eventually(() => expect(inbound.audit.ended.length).toBe(recorded + 1));
    expect(inbound.audit.ended.at(-1)).toMatchObject({ kind: "refusal", decision: "deny", reason: code });
    expect(app.requests.length).toBe(before);
  });
});

describe("an outbound listener refuses a server with", () => {
  test.each(rows.filter(([, code]) => code !== "E_PEER_NO_CERTIFICATE"))("%s: %s", async (_what, code, options) => {
    server.setSecureContext(options);
    const client = await rawClient(outbound.port("out"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const answer = await client.closed();
    expect([answer.slice(9, 12), /x-countersign-code: (\S+)/i.exec(answer)?.[1]]).toEqual(["502", code]);
  });
});

describe("both sides take", () => {
  const good = unusualChains.flatMap(([what, make]): [string, SecureContextOptions][] => {
    const options = presentable(make(), what);
    return options === undefined ? [] : [[what, options]];
  });
  test("twenty unusual chains at least", () => {
    expect(good.length).toBeGreaterThanOrEqual(20);
  });
  test.each(good)("%s", async (_what, options) => {
    expect((await callInbound(options)).slice(0, 15)).toBe("HTTP/1.1 200 OK");
    server.setSecureContext(options);
    const client = await rawClient(outbound.port("out"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect((await client.closed()).slice(0, 15)).toBe("HTTP/1.1 200 OK");
  });
});
