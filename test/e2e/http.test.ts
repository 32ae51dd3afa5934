import { createHash } from "node:crypto";
import { connect as connectTls } from "node:tls";
import { describe, expect, it } from "vitest";
import { bodyOf } from "../support/app.ts";
import { appMesh } from "../support/app-mesh.ts";
import { createTestCa, type TestCa, type TestIssued } from "../support/cert-factory.ts";
import { ALLOW_WEB, ORDERS, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

const get = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nHost: orders.shop\r\n${more}\r\n`;
const isCompleteWith = (end: string) => (received: string) => received.endsWith(end);

describe("an allowed call", () => {
  it("reaches the app with the caller's identity and leaves one record on each side", async () => {
    const { port, app, inbound, outbound } = await appMesh((_, response) => response.end("hello"));
    const client = await rawClient(port);
    client.send(
      get("/orders/7?secret=1", "X-Forwarded-Client-Cert: URI=spiffe://evil/x\r\nX_Countersign_Id: forged\r\n"),
    );
    const answer = await client.until(isCompleteWith("hello"));
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    const [request] = app.requests;
    expect(request?.url).toBe("/orders/7?secret=1");
    expect(request?.headers["x-forwarded-client-cert"]).toMatch(
      new RegExp(`^By=${ORDERS};Hash=[0-9a-f]{64};URI=${WEB}$`),
    );
    expect(request?.headers["x_countersign_id"]).toBeUndefined();
    expect(request?.headers["x-forwarded-proto"]).toBe("https");
    expect(request?.headers["x-request-id"]).toBeTruthy();
    expect(request?.headers["traceparent"]).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    const served = await inbound.audit.next(() => true);
    expect(served).toMatchObject({
      kind: "request",
      phase: "end",
      decision: "allow",
      reason: "rule",
      rule: "ns[shop]-policy[web]-rule[0]",
      method: "GET",
      authority: "orders.shop",
      path: "/orders/7",
      status: 200,
      bytesOut: 5,
      retries: 0,
    });
    expect(served.connection.source?.spiffeId).toBe(WEB);
    expect(served.connection.tlsVersion).toBe("TLSv1.3");
    const called = await outbound.audit.next(() => true);
    expect(called).toMatchObject({ decision: "allow", status: 200, path: "/orders/7" });
    expect(called.destination?.spiffeId).toBe(ORDERS);
    expect(called.traceId).toBe(served.traceId);
    expect([inbound.audit.ended.length, outbound.audit.ended.length]).toEqual([1, 1]);
    expect([inbound.audit.open, outbound.audit.open]).toEqual([0, 0]);
  });

  it("carries bodies and trailers both ways, by length and chunked", async () => {
    const { port } = await appMesh((request, response) => {
      void bodyOf(request).then((body) => {
        response.setHeader("Trailer", "X-Sum");
        response.write(`${request.method} ${body} `);
        response.addTrailers({ "X-Sum": String(request.trailers["x-in"]) });
        response.end("end");
      });
    });
    const client = await rawClient(port);
    client.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-In\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-In: 9\r\n\r\n",
    );
    const whole = await client.until((text) => text.includes("0\r\nx-sum: 9\r\n\r\n"));
    expect(whole).toContain("HTTP/1.1 200 OK");
    const chunks = whole.slice(whole.indexOf("\r\n\r\n") + 4).split("\r\n");
    expect(chunks.filter((_, at) => at % 2 === 1).join("")).toMatch(/^POST abcde end/);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nxyz");
    expect(await client.closed()).toContain("PUT xyz ");
  });

  it("serves pipelined requests in order over one upstream connection", async () => {
    const { port, app, inbound } = await appMesh((request, response) => response.end(`<${request.url}>`));
    const client = await rawClient(port);
    client.send(get("/1") + get("/2") + get("/3"));
    await client.until(isCompleteWith("</3>"));
    expect(client.received.match(/<[^>]+>/g)).toEqual(["</1>", "</2>", "</3>"]);
    expect(new Set(app.requests.map((request) => request.socket.remotePort)).size).toBe(1);
    expect(inbound.audit.ended.map((record) => record.path)).toEqual(["/1", "/2", "/3"]);
  });

  it("passes Expect: 100-continue through to the app and back", async () => {
    const { port } = await appMesh(
      (request, response) => void bodyOf(request).then((body) => response.end(`got ${body}`)),
    );
    const client = await rawClient(port);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    await client.until(isCompleteWith("HTTP/1.1 100 Continue\r\n\r\n"));
    client.send("ok");
    await client.until(isCompleteWith("got ok"));
  });

  it("gives an HTTP/1.0 client a body without chunks and a closed connection", async () => {
    const { port } = await appMesh((_, response) => {
      response.write("a");
      response.end("b");
    });
    const client = await rawClient(port);
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    const answer = await client.closed();
    expect(answer.toLowerCase()).not.toContain("transfer-encoding");
    expect(answer).toMatch(/\r\n\r\nab$/);
  });

  it("answers HEAD with the length and no body, and keeps the connection", async () => {
    const { port } = await appMesh((_, response) => {
      response.setHeader("Content-Length", "5");
      response.end("hello");
    });
    const client = await rawClient(port);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(await client.until(isCompleteWith("\r\n\r\n"))).toMatch(/Content-Length: 5\r\n/);
    client.send(get("/"));
    await client.until(isCompleteWith("hello"));
  });

  it("turns a websocket upgrade into a tunnel that is one call", async () => {
    const { port, app, inbound } = await appMesh((_, response) => response.end());
    app.server.on("upgrade", (request, socket) => {
      const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
      const accept = createHash("sha1").update(key).digest("base64");
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      socket.on("data", (chunk: Buffer) => socket.write(`echo ${chunk.toString()}`));
      socket.on("end", () => socket.end("bye"));
    });
    const client = await rawClient(port);
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    client.send(get("/chat", `${upgrade}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n`));
    await client.until((text) => text.includes("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send("one");
    await client.until(isCompleteWith("echo one"));
    client.socket.end();
    expect(await client.closed()).toMatch(/bye$/);
    const record = await inbound.audit.next((outcome) => outcome.path === "/chat");
    expect(record).toMatchObject({ status: 101, decision: "allow", bytesIn: 3, bytesOut: 11 });
    expect(inbound.audit.notes).toMatchObject([{ phase: "start", path: "/chat" }]);
  });

  it("does not believe a 101 with a wrong Sec-WebSocket-Accept", async () => {
    const { port, app } = await appMesh((_, response) => response.end());
    app.server.on("upgrade", (_, socket) => {
      socket.write("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n");
    });
    const client = await rawClient(port);
    const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    client.send(get("/", `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n${key}`));
    expect(await client.until(isCompleteWith(")\n"))).toMatch(/^HTTP\/1\.1 502 [\s\S]*E_UPSTREAM_PROTOCOL/);
  });
});

describe("a refused call", () => {
  it("is denied by a DENY rule with the code and the id alone on the wire, and the rule in audit", async () => {
    const deny = `${ALLOW_WEB}---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-delete, namespace: shop }
spec: { action: DENY, rules: [{ to: [{ operation: { methods: [DELETE] } }] }] }
`;
    const { port, app, inbound, outbound } = await appMesh((_, response) => response.end(), { policies: deny });
    const client = await rawClient(port);
    client.send("DELETE /orders/7 HTTP/1.1\r\nHost: a\r\n\r\n");
    const answer = await client.until(isCompleteWith(")\n"));
    const record = await inbound.audit.next(() => true);
    expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden/);
    expect(answer).toContain("x-countersign-code: E_POLICY_DENIED_BY_RULE");
    expect(answer).toContain(`x-countersign-id: ${record.id}`);
    expect(answer).not.toContain("no-delete");
    expect(record).toMatchObject({ decision: "deny", status: 403, rule: "ns[shop]-policy[no-delete]-rule[0]" });
    expect((await outbound.audit.next(() => true)).status).toBe(403);
    expect(app.requests).toHaveLength(0);
    client.send(get("/after"));
    await client.until((text) => text.includes("HTTP/1.1 200 OK"));
  });

  it("names the nearest rule and the field that failed for a default deny", async () => {
    const policies = ALLOW_WEB.replace("sa/web", "sa/other");
    const { port, inbound } = await appMesh((_, response) => response.end(), { policies });
    const client = await rawClient(port);
    client.send(get("/"));
    await client.until(isCompleteWith(")\n"));
    const record = await inbound.audit.next(() => true);
    expect(record).toMatchObject({ decision: "deny", reason: "E_POLICY_DENIED_BY_DEFAULT", rule: undefined });
    expect(record.nearest).toMatchObject({
      rule: "ns[shop]-policy[web]-rule[0]",
      field: "from[0].source.principals",
      actual: "example.org/ns/shop/sa/web",
    });
  });

  it("is answered 503 before the app sees anything when no audit record can be reserved", async () => {
    const { port, app, inbound } = await appMesh((_, response) => response.end());
    inbound.audit.full = true;
    const client = await rawClient(port);
    client.send(get("/"));
    expect(await client.until(isCompleteWith(")\n"))).toMatch(/^HTTP\/1\.1 503 [\s\S]*E_AUDIT_UNAVAILABLE/);
    expect(app.requests).toHaveLength(0);
    expect(await inbound.audit.next(() => true)).toMatchObject({ reason: "E_AUDIT_UNAVAILABLE", decision: "error" });
  });

  it("is answered 502 with code and reason when the app is down", async () => {
    const { port, app, inbound } = await appMesh((_, response) => response.end());
    await app.close();
    const client = await rawClient(port);
    client.send(get("/"));
    expect(await client.until(isCompleteWith(")\n"))).toMatch(
      /^HTTP\/1\.1 502 [\s\S]*x-countersign-code: E_UPSTREAM_CONNECT/,
    );
    expect(await inbound.audit.next(() => true)).toMatchObject({
      reason: "E_UPSTREAM_CONNECT",
      decision: "error",
      status: 502,
    });
  });

  it("ends before a byte is sent when the server proves another identity than expected", async () => {
    const { port, app, outbound } = await appMesh((_, response) => response.end(), {
      serverId: "spiffe://example.org/ns/shop/sa/impostor",
    });
    const client = await rawClient(port);
    client.send(get("/"));
    const answer = await client.until(isCompleteWith(")\n"));
    expect(answer).toMatch(/^HTTP\/1\.1 502/);
    expect(answer).toContain(
      "proved spiffe://example.org/ns/shop/sa/impostor, expected spiffe://example.org/ns/shop/sa/orders",
    );
    expect(await outbound.audit.next(() => true)).toMatchObject({ reason: "E_PEER_WRONG_IDENTITY" });
    expect(app.requests).toHaveLength(0);
  });

  it("is answered 503 while there is no SVID, and served once it came", async () => {
    const { port, outbound, ca } = await appMesh((_, response) => response.end("now"));
    outbound.identity.set({ kind: "waiting", sinceMs: 0, problem: undefined });
    const client = await rawClient(port);
    client.send(get("/"));
    expect(await client.until(isCompleteWith(")\n"))).toMatch(/^HTTP\/1\.1 503 [\s\S]*E_IDENTITY_NONE/);
    outbound.identity.serve(ca.issue({ spiffeId: WEB }), [ca]);
    client.send(get("/"));
    await client.until(isCompleteWith("now"));
  });

  it("is refused when it comes from a browser page", async () => {
    const { port, app } = await appMesh((_, response) => response.end());
    const client = await rawClient(port);
    client.send(get("/", "Sec-Fetch-Site: cross-site\r\n"));
    expect(await client.until(isCompleteWith(")\n"))).toMatch(/^HTTP\/1\.1 403 [\s\S]*E_BROWSER_REFUSED/);
    expect(app.requests).toHaveLength(0);
  });

  it("gets 400 and a closed connection for ambiguous framing, and the app sees nothing", async () => {
    const { port, app, outbound } = await appMesh((_, response) => response.end());
    const client = await rawClient(port);
    client.send(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    );
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*x-countersign-code: E_HTTP_/);
    expect(app.requests).toHaveLength(0);
    expect(outbound.audit.ended).toHaveLength(1);
  });

  it("is stopped when it goes round in a circle", async () => {
    const { port, app } = await appMesh((_, response) => response.end());
    const client = await rawClient(port);
    client.send(get("/", "X-Countersign-Hops: 16\r\n"));
    expect(await client.until(isCompleteWith(")\n"))).toMatch(/^HTTP\/1\.1 508 /);
    expect(app.requests).toHaveLength(0);
  });
});

describe("a refused connection", () => {
  it("is told why when it speaks HTTP in the clear to a strict port", async () => {
    const { meshPort, inbound, app } = await appMesh((_, response) => response.end());
    const client = await rawClient(meshPort);
    client.send(get("/"));
    const answer = await client.closed();
    expect(answer).toMatch(/^HTTP\/1\.1 403 [\s\S]*E_PLAINTEXT_REFUSED/);
    expect(answer).toContain(`x-countersign-id: ${(await inbound.audit.next(() => true)).id}`);
    expect(await inbound.audit.next(() => true)).toMatchObject({
      kind: "refusal",
      decision: "deny",
      reason: "E_PLAINTEXT_REFUSED",
    });
    expect(app.requests).toHaveLength(0);
  });

  it.each([
    ["no TLS at all", "garbage\x00\x01\x02\r\n"],
    ["a broken TLS record", "\x16\x03\x01\x00\x05hello"],
    ["an overlong TLS record", `\x16\x03\x03\xff\xff${"A".repeat(2000)}`],
  ])("is recorded when it sends %s", async (_, garbage) => {
    const { meshPort, inbound } = await appMesh((_, response) => response.end());
    const client = await rawClient(meshPort);
    client.send(Buffer.from(garbage, "latin1"));
    await client.closed();
    const record = await inbound.audit.next(() => true);
    expect(record.kind).toBe("refusal");
    expect(["E_PLAINTEXT_REFUSED", "E_TLS_HANDSHAKE"]).toContain(record.reason);
    expect(inbound.audit.ended).toHaveLength(1);
  });

  /** What the caller shows, made by the trusted CA or by another domain's. */
  const strangers: readonly (readonly [string, string, (ca: TestCa, other: TestCa) => TestIssued | undefined])[] = [
    ["without a certificate", "E_PEER_NO_CERTIFICATE", () => undefined],
    [
      "of an unknown trust domain",
      "E_CHAIN_NO_BUNDLE",
      (_, other) => other.issue({ spiffeId: "spiffe://other.org/ns/shop/sa/web" }),
    ],
    ["with an SVID that another domain's CA signed", "E_CHAIN_UNTRUSTED", (_, other) => other.issue({ spiffeId: WEB })],
    [
      "with an expired SVID",
      "E_CERT_EXPIRED",
      (ca) => ca.issue({ spiffeId: WEB, notBefore: Date.now() - 7_200_000, notAfter: Date.now() - 3_600_000 }),
    ],
    ["with two URI SANs", "E_SVID_URI_SEVERAL", (ca) => ca.issue({ spiffeId: WEB, extraUriSans: [ORDERS] })],
    ["with a CA certificate as leaf", "E_SVID_LEAF_IS_CA", (ca) => ca.issue({ spiffeId: WEB, isCa: true })],
    ["without key usage", "E_SVID_KEY_USAGE_ABSENT", (ca) => ca.issue({ spiffeId: WEB, keyUsage: "absent" })],
    ["with a SPIFFE ID without a path", "E_SVID_PATH_EMPTY", (ca) => ca.issue({ spiffeId: "spiffe://example.org" })],
  ];
  it.each(strangers)("is recorded when it comes %s", async (_, code, show) => {
    const { meshPort, inbound, ca, app } = await appMesh((_request, response) => response.end());
    const issued = show(ca, createTestCa("other.org"));
    const socket = connectTls({
      port: meshPort,
      host: "127.0.0.1",
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["http/1.1"],
      ...(issued === undefined ? {} : { cert: issued.chainPem, key: issued.keyPem }),
    });
    socket.on("error", () => undefined);
    socket.write(get("/"));
    await new Promise((resolve) => socket.once("close", resolve));
    const record = await inbound.audit.next(() => true);
    expect(record.kind).toBe("refusal");
    expect(record.reason).toBe(code);
    expect(app.requests).toHaveLength(0);
  });
});

describe("open connections", () => {
  it("lose a download that a new policy no longer allows", async () => {
    const { port, inbound } = await appMesh((_, response) => void response.write("begin"));
    const client = await rawClient(port);
    client.send(get("/slow"));
    await client.until((text) => text.includes("begin"));
    inbound.setPolicies(ALLOW_WEB.replace("sa/web", "sa/other"));
    await client.closed();
    expect(client.received.endsWith("0\r\n\r\n")).toBe(false);
    expect(await inbound.audit.next(() => true)).toMatchObject({ decision: "deny", close: "policy-changed" });
  });

  it("carry new calls under the new policy at once", async () => {
    const { port, inbound } = await appMesh((_, response) => response.end("ok"));
    const client = await rawClient(port);
    client.send(get("/1"));
    await client.until(isCompleteWith("ok"));
    inbound.setPolicies(ALLOW_WEB.replace("sa/web", "sa/other"));
    client.send(get("/2"));
    await client.until((text) => text.includes("403 Forbidden"));
  });

  it("survive an SVID rotation, and the next call shows the new SVID", async () => {
    let finish = (): void => undefined;
    const { port, outbound, inbound, ca } = await appMesh((request, response) => {
      if (request.url !== "/slow") {
        response.end("quick");
        return;
      }
      response.write("begin");
      finish = () => response.end("finished");
    });
    const slow = await rawClient(port);
    slow.send(get("/slow"));
    await slow.until((text) => text.includes("begin"));
    outbound.identity.serve(ca.issue({ spiffeId: WEB }), [ca]);
    const quick = await rawClient(port);
    quick.send(get("/quick"));
    await quick.until((text) => text.includes("quick"));
    finish();
    await slow.until((text) => text.endsWith("0\r\n\r\n"));
    const first = await inbound.audit.next((record) => record.path === "/slow");
    const second = await inbound.audit.next((record) => record.path === "/quick");
    expect(first.connection.source?.serial).not.toBe(second.connection.source?.serial);
    expect(first.decision).toBe("allow");
  });

  it("end when their peer's trust domain is no longer trusted", async () => {
    const { port, inbound, ca } = await appMesh((_, response) => void response.write("begin"));
    const client = await rawClient(port);
    client.send(get("/slow"));
    await client.until((text) => text.includes("begin"));
    const other = createTestCa("example.org");
    inbound.identity.serve(ca.issue({ spiffeId: ORDERS }), [other]);
    await client.closed();
    expect(await inbound.audit.next(() => true)).toMatchObject({ close: "E_PEER_NO_LONGER_TRUSTED" });
  });

  it("end with the SVID that opened them", async () => {
    const { port, outbound, inbound, ca } = await appMesh((_, response) => void response.write("begin"));
    outbound.identity.serve(ca.issue({ spiffeId: WEB, notAfter: Date.now() + 2500 }), [ca]);
    const client = await rawClient(port);
    client.send(get("/slow"));
    await client.until((text) => text.includes("begin"));
    await client.closed();
    const record = await inbound.audit.next(() => true);
    expect(record.durationMs).toBeLessThan(4000);
    expect(record.close).toMatch(/E_PEER_EXPIRED_OPEN|caller-closed/);
  });

  it("are drained: the call in flight ends, then the connection", async () => {
    let finish = (): void => undefined;
    const { port, inbound, app } = await appMesh((_, response) => {
      response.write("begin ");
      finish = () => response.end("end");
    });
    const client = await rawClient(port);
    client.send(get("/slow"));
    await client.until((text) => text.includes("begin"));
    const drained = inbound.sidecar.drain(10_000);
    finish();
    await client.until((text) => text.endsWith("0\r\n\r\n"));
    expect(await drained).toBe(0);
    expect(app.requests).toHaveLength(1);
  });
});
