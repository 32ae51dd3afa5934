// Which of our SVIDs a listener shows, and what becomes of connections when that one goes or becomes another.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Svid } from "../../src/core/identity.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { createTestCa, testSvid } from "../support/cert-factory.ts";
import { startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { tlsClient } from "../support/tls-client.ts";

const ca = createTestCa(TRUST_DOMAIN);
const [MAIN, INTERNAL] = ["spiffe://example.org/main", "spiffe://example.org/internal"];
let app: TestApp;
let sidecar: TestSidecar;

beforeEach(async () => {
  app = await startApp((request, response) => void request.resume().once("end", () => response.end("ok")));
  const listener = (name: string, more: string): string =>
    `  - { name: ${name}, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http${more} }\n`;
  sidecar = await startTestSidecar({
    ca,
    svid: undefined,
    config: `authorization: { default: allow }\ninbound:\n${listener("main", "")}${listener("internal", ", svid: { hint: internal }")}`,
  });
});
afterEach(async () => {
  await sidecar.sidecar.drain(0);
  await app.close();
});

const svid = (spiffeId: string, hint = ""): Svid => testSvid(ca.issue({ spiffeId }), hint);
let generation = 0;
function serve(first: Svid, ...others: readonly Svid[]): void {
  const { trustDomain, ...bundle } = ca.trustBundle();
  sidecar.identity.set({
    kind: "serving",
    snapshot: {
      generation: ++generation,
      svids: [first, ...others],
      bundles: new Map([[trustDomain, { trustDomain, ...bundle }]]),
    },
  });
}
const connect = (name: string): ReturnType<typeof tlsClient> =>
  tlsClient(sidecar.port(name), ca.issue({ spiffeId: WEB }));

describe("each listener", () => {
  test("shows the SVID that its hint names, and policy and record see the same", async () => {
    serve(svid(MAIN), svid(INTERNAL, "internal"));
    const [main, internal] = await Promise.all([connect("main"), connect("internal")]);
    expect([main.peerUri, internal.peerUri]).toEqual([MAIN, INTERNAL]);
    internal.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await internal.closed();
    const record = await sidecar.audit.next(({ connection }) => connection.listener === "internal");
    expect(record.connection.destination?.spiffeId).toBe(INTERNAL);
  });

  test("whose SVID is not there refuses, and the others serve", async () => {
    serve(svid(MAIN));
    const raw = await rawClient(sidecar.port("internal"));
    raw.send(Buffer.from([0x16, 3, 1, 0, 1, 1]));
    expect(await raw.closed()).toBe("");
    await sidecar.audit.next(({ reason }) => reason === "E_IDENTITY_HINT");
    expect((await connect("main")).peerUri).toBe(MAIN);
  });
});

describe("an SVID beside the default one", () => {
  test("that is taken away ends what it opened, and nothing else", async () => {
    serve(svid(MAIN), svid(INTERNAL, "internal"));
    const [main, internal] = await Promise.all([connect("main"), connect("internal")]);
    internal.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    serve(svid(MAIN));
    await internal.closed();
    main.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await main.until((received) => received.endsWith("ok"));
  });

  test("that is rotated ends nothing", async () => {
    serve(svid(MAIN), svid(INTERNAL, "internal"));
    const internal = await connect("internal");
    serve(svid(MAIN), svid(INTERNAL, "internal"));
    internal.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await internal.until((received) => received.endsWith("ok"));
  });
});

test("a default SVID with another ID drains what the old one opened: a call under way ends by itself", async () => {
  serve(svid(MAIN));
  const [idle, busy] = await Promise.all([connect("main"), connect("main")]);
  busy.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
  await expect.poll(() => app.requests.length, { timeout: 10_000 }).toBe(1);
  serve(svid(INTERNAL));
  expect(await idle.closed()).toBe("");
  busy.send("cde");
  expect(await busy.closed()).toMatch(/^HTTP\/1\.1 200 OK.*connection: close.*ok$/is);
  expect((await connect("main")).peerUri).toBe(INTERNAL);
});
