import { createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp, startTcpApp, type TestApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { allowOutbound, type Egress, type EgressOptions, startEgress } from "../support/egress.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, type TestSidecar, WEB } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";

let app: TestApp;
let cleanups: (() => Promise<unknown>)[];
beforeEach(async () => {
  app = await startApp((request, response) => response.end(`${request.headers.host ?? ""}${request.url ?? ""}`));
  cleanups = [() => app.close()];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

async function start(options: Partial<EgressOptions> = {}): Promise<Egress> {
  const egress = await startEgress({
    forward: "addresses: [127.0.0.0/8]",
    policies: allowOutbound('hosts: ["*.test"]'),
    names: { "api.test": ["127.0.0.1"], "other.test": ["127.0.0.1"] },
    ...options,
  });
  cleanups.push(() => egress.close());
  return egress;
}

describe("a request in absolute form", () => {
  it("reaches the server that it names, in origin form, with one record of name, address and caller", async () => {
    const egress = await start();
    const url = `http://api.test:${app.port}/a%2Fb?q=1`;
    expect(await ask(egress.port, url)).toMatchObject({
      status: 200,
      body: `127.0.0.1:${egress.port}/a%2Fb?q=1`.replace(/^[^/]*/, `api.test:${app.port}`),
    });
    expect(app.requests[0]?.url).toBe("/a%2Fb?q=1");
    const record = await egress.sidecar.audit.next(({ kind }) => kind === "request");
    expect(record).toMatchObject({
      decision: "allow",
      method: "GET",
      authority: `api.test:${app.port}`,
      path: "/a%2Fb",
      destination: undefined,
      destinationAddress: `127.0.0.1:${app.port}`,
      status: 200,
    });
    expect(record.connection).toMatchObject({ direction: "outbound", listener: "egress" });
    if (process.platform === "linux") expect(record.connection.sourceUid).toBe(process.getuid?.());
    expect(egress.sidecar.audit.ended).toHaveLength(1);
  });

  it("is denied where no OUTBOUND policy allows it, and says so in one line", async () => {
    const egress = await start({ policies: "", names: {} });
    const answer = await ask(egress.port, `http://api.test:${app.port}/`);
    expect(answer.status).toBe(403);
    expect(answer.headers["x-countersign-code"]).toBe("E_POLICY_DENIED_BY_DEFAULT");
    expect(answer.body).toMatch(/^countersign: E_POLICY_DENIED_BY_DEFAULT: .*OUTBOUND.*\n$/);
    expect(app.requests).toHaveLength(0);
    expect(egress.sidecar.audit.ended).toMatchObject([{ decision: "deny", authority: `api.test:${app.port}` }]);
  });

  it("is decided and forwarded by its target, whatever Host says", async () => {
    const egress = await start({ policies: allowOutbound("hosts: [api.test]") });
    const client = await rawClient(egress.port);
    client.send(`GET http://api.test:${app.port}/x HTTP/1.1\r\nHost: other.test\r\n\r\n`);
    await client.until((text) => text.includes(`api.test:${app.port}/x`));
    client.send(`GET http://other.test:${app.port}/y HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n`);
    expect(await client.closed()).toContain("403 Forbidden");
    expect(app.requests.map(({ headers }) => headers.host)).toEqual([`api.test:${app.port}`]);
  });

  it("and the next may name another host on the same connection, each on an upstream connection of its own", async () => {
    const egress = await start();
    const client = await rawClient(egress.port);
    client.send(
      `GET http://api.test:${app.port}/1 HTTP/1.1\r\nHost: a\r\n\r\nGET http://other.test:${app.port}/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    const text = await client.closed();
    expect(text).toContain(`api.test:${app.port}/1`);
    expect(text).toContain(`other.test:${app.port}/2`);
    expect(new Set(app.requests.map(({ socket }) => socket.remotePort)).size).toBe(2);
  });

  it("uses an open connection to the same host again", async () => {
    const egress = await start();
    for (const path of ["/1", "/2", "/3"]) await ask(egress.port, `http://api.test:${app.port}${path}`);
    expect(new Set(app.requests.map(({ socket }) => socket.remotePort)).size).toBe(1);
  });

  it("loses the proxy's credentials and our own fields on its way, both ways", async () => {
    const cheeky = await startApp((_, response) => {
      response.setHeader("x-countersign-code", "E_FORGED");
      response.end("ok");
    });
    cleanups.push(() => cheeky.close());
    const egress = await start();
    const answer = await ask(egress.port, `http://api.test:${cheeky.port}/`, {
      headers: {
        "proxy-authorization": "Basic c2VjcmV0",
        "proxy-connection": "keep-alive",
        "x-countersign-id": "1",
        "x-forwarded-client-cert": "By=x",
      },
    });
    expect(answer.headers["x-countersign-code"]).toBeUndefined();
    const names = Object.keys(cheeky.requests[0]?.headers ?? {});
    expect(names).not.toContain("proxy-authorization");
    expect(names).not.toContain("proxy-connection");
    expect(names).not.toContain("x-countersign-id");
    expect(names).not.toContain("x-forwarded-client-cert");
  });

  it.each([
    ["a path alone", "GET /x HTTP/1.1\r\nHost: api.test", 400, "E_EGRESS_TARGET"],
    ["https, which goes by CONNECT", "GET https://api.test/ HTTP/1.1\r\nHost: api.test", 400, "E_EGRESS_TARGET"],
    ["127.1, an address to some", "GET http://127.1/ HTTP/1.1\r\nHost: a", 400, "E_EGRESS_TARGET"],
    ["a number for an address", "GET http://2130706433/ HTTP/1.1\r\nHost: a", 400, "E_EGRESS_TARGET"],
    ["a hexadecimal address", "GET http://0x7f.0.0.1/ HTTP/1.1\r\nHost: a", 400, "E_EGRESS_TARGET"],
    ["an octal address", "GET http://0177.0.0.1/ HTTP/1.1\r\nHost: a", 400, "E_EGRESS_TARGET"],
    ["port 0", "GET http://api.test:0/ HTTP/1.1\r\nHost: a", 400, "E_EGRESS_TARGET"],
    ["a user before the host", "GET http://api.test@other.test/ HTTP/1.1\r\nHost: a", 400, "E_HTTP_TARGET"],
    ["a mail server's port", "GET http://api.test:25/ HTTP/1.1\r\nHost: a", 403, "E_EGRESS_PORT"],
    [
      "two framings",
      "POST http://api.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
      400,
      "E_HTTP_TWO_FRAMINGS",
    ],
    [
      "a page of a browser",
      "GET http://api.test/ HTTP/1.1\r\nHost: a\r\nSec-Fetch-Site: cross-site",
      403,
      "E_BROWSER_REFUSED",
    ],
    ["a name that has no address", "GET http://nowhere.test/ HTTP/1.1\r\nHost: a", 502, "E_EGRESS_RESOLVE"],
  ])("with %s is refused", async (_name, head, status, code) => {
    const egress = await start();
    const client = await rawClient(egress.port);
    client.send(`${head}\r\n\r\n`);
    const text = await client.until((received) => received.includes("\n", received.indexOf("countersign: ")));
    client.socket.destroy();
    expect(text).toContain(`HTTP/1.1 ${status} `);
    expect(text).toContain(`x-countersign-code: ${code}`);
    expect(egress.sidecar.audit.ended).toMatchObject([{ reason: code }]);
  });
});

describe("an address", () => {
  it.each([
    ["loopback", "[::ffff:127.0.0.1]", undefined],
    ["::1", "[::1]", undefined],
    ["a metadata service", "169.254.169.254", undefined],
    ["a metadata service in NAT64 form", "[64:ff9b::a9fe:a9fe]", undefined],
    ["a metadata service in 6to4 form", "[2002:a9fe:a9fe::1]", undefined],
    ["a name of a metadata service", "meta.test", ["169.254.169.254"]],
    ["a name of a private address", "db.test", ["10.0.0.1"]],
    ["a name of the listener's machine", "self.test", ["127.0.0.1"]],
    ["a name of a link-local address with a zone", "zone.test", ["fe80::1%lo"]],
  ])("that is %s is refused with its reason", async (_name, host, found) => {
    const egress = await start({
      forward: "",
      policies: allowOutbound('methods: ["*"]'),
      names: found === undefined ? {} : { [host]: found },
    });
    const answer = await ask(egress.port, `http://${host}:${app.port}/`);
    expect(answer).toMatchObject({ status: 403 });
    expect(answer.body).toMatch(/^countersign: E_EGRESS_ADDRESS: .* is .*forward\.addresses/);
    expect(app.requests).toHaveLength(0);
  });

  it("of the proxy itself, or another listener of the sidecar, is refused although its range is open", async () => {
    const egress = await start({ policies: allowOutbound('methods: ["*"]') });
    const answer = await ask(egress.port, `http://api.test:${egress.port}/`);
    expect(answer).toMatchObject({ status: 403 });
    expect(answer.body).toContain("a listener of this sidecar");
  });

  it("that is closed is left out where the name has an open one too", async () => {
    const egress = await start({
      forward: "addresses: [127.0.0.1/32]",
      names: { "api.test": ["169.254.169.254", "127.0.0.9", "127.0.0.1"] },
    });
    expect(await ask(egress.port, `http://api.test:${app.port}/`)).toMatchObject({ status: 200 });
    expect(egress.sidecar.audit.ended[0]?.destinationAddress).toBe(`127.0.0.1:${app.port}`);
  });

  it("that refuses connections gives way to the next", async () => {
    const egress = await start({ names: { "api.test": ["127.0.0.77", "127.0.0.1"] } });
    expect(await ask(egress.port, `http://api.test:${app.port}/`)).toMatchObject({ status: 200 });
  });

  it("where nobody listens is told as 502", async () => {
    const closed = await startTcpApp(() => undefined);
    await closed.close();
    const egress = await start();
    const answer = await ask(egress.port, `http://api.test:${closed.port}/`);
    expect(answer).toMatchObject({ status: 502 });
    expect(answer.body).toContain("E_UPSTREAM_CONNECT");
  });
});

describe("a destination in the mesh", () => {
  let orders: TestSidecar;
  const startMeshed = async (identity: string, more: Partial<EgressOptions> = {}): Promise<Egress> => {
    const egress = await start({ policies: "" });
    orders = await startTestSidecar({
      ca: egress.ca,
      svid: egress.ca.issue({ spiffeId: ORDERS }),
      policies: ALLOW_WEB,
      config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }]`,
    });
    cleanups.push(() => orders.sidecar.drain(0));
    return start({
      ca: egress.ca,
      forward: `hosts: { "orders.test:${orders.port("in")}": "${identity}" }, addresses: [127.0.0.0/8]`,
      names: { "orders.test": ["127.0.0.1"] },
      ...more,
    });
  };

  it("is reached by mTLS, and its identity is in the record", async () => {
    const egress = await startMeshed(ORDERS);
    const answer = await ask(egress.port, `http://orders.test:${orders.port("in")}/x`);
    expect(answer).toMatchObject({ status: 200, body: `orders.test:${orders.port("in")}/x` });
    expect(app.requests[0]?.headers["x-forwarded-client-cert"]).toContain(WEB);
    const record = await egress.sidecar.audit.next(({ kind }) => kind === "request");
    expect(record).toMatchObject({
      decision: "allow",
      authority: `orders.test:${orders.port("in")}`,
      destination: { spiffeId: ORDERS },
      destinationAddress: `127.0.0.1:${orders.port("in")}`,
    });
    expect(record.connection.source?.spiffeId).toBe(WEB);
  });

  it("that proves another identity gets nothing", async () => {
    const egress = await startMeshed("spiffe://example.org/ns/shop/sa/payments");
    const answer = await ask(egress.port, `http://orders.test:${orders.port("in")}/x`);
    expect(answer).toMatchObject({ status: 502 });
    expect(answer.headers["x-countersign-code"]).toBe("E_PEER_WRONG_IDENTITY");
    expect(app.requests).toHaveLength(0);
  });

  it("is denied by default like all others", async () => {
    const egress = await startMeshed(ORDERS, { policies: "" });
    expect(await ask(egress.port, `http://orders.test:${orders.port("in")}/x`)).toMatchObject({ status: 403 });
  });

  it("whose name leads to a closed address is refused: a configured name does not open addresses", async () => {
    const egress = await startMeshed(ORDERS, {});
    const closed = await start({
      ca: egress.ca,
      forward: `hosts: { "orders.test:${orders.port("in")}": "${ORDERS}" }`,
      names: { "orders.test": ["127.0.0.1"] },
    });
    expect(await ask(closed.port, `http://orders.test:${orders.port("in")}/x`)).toMatchObject({ status: 403 });
  });

  it("that the configuration names by its address needs no other word", async () => {
    const egress = await startMeshed(ORDERS);
    const byAddress = await start({
      ca: egress.ca,
      forward: `hosts: { "127.0.0.1:${orders.port("in")}": "${ORDERS}" }`,
      policies: allowOutbound('methods: ["GET"]'),
    });
    expect(await ask(byAddress.port, `http://127.0.0.1:${orders.port("in")}/x`)).toMatchObject({ status: 200 });
  });
});

describe.runIf(process.platform === "linux")("a caller that is not in allow.uids", () => {
  it("is told so, and nothing is sent", async () => {
    const egress = await start({ listener: "allow: { uids: [99999] }" });
    const answer = await ask(egress.port, `http://api.test:${app.port}/`);
    expect(answer.status).toBe(403);
    expect(answer.body).toContain(`E_CALLER_UID: uid ${process.getuid?.()} is not in allow.uids`);
    expect(app.requests).toHaveLength(0);
    expect(egress.sidecar.audit.ended).toMatchObject([
      { reason: "E_CALLER_UID", connection: { sourceUid: process.getuid?.() } },
    ]);
  });
});

describe("a name with several addresses", () => {
  /** Takes connections on 127.0.0.2, at the app's port, and ends them; how many it took. */
  async function startBroken(): Promise<() => number> {
    let taken = 0;
    const server = createServer((socket) => {
      taken++;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(app.port, "127.0.0.2", resolve));
    cleanups.push(() => new Promise((resolve) => server.close(resolve)));
    return () => taken;
  }

  it("loses no call to one where nobody listens", async () => {
    const egress = await start({ names: { "api.test": ["127.0.0.2", "127.0.0.1"] } });
    const url = `http://api.test:${app.port}/`;
    for (let call = 0; call < 8; call++) expect(await ask(egress.port, url)).toMatchObject({ status: 200 });
  });

  it("leaves one alone that has failed five times in a row", async () => {
    const taken = await startBroken();
    const egress = await start({ names: { "api.test": ["127.0.0.2", "127.0.0.1"] } });
    const url = `http://api.test:${app.port}/`;
    for (let call = 0; call < 12; call++) expect(await ask(egress.port, url)).toMatchObject({ status: 200 });
    expect(taken()).toBe(5);
  });

  it("keeps its only one, whatever fails there", async () => {
    const taken = await startBroken();
    const egress = await start({ names: { "api.test": ["127.0.0.2"] } });
    const url = `http://api.test:${app.port}/`;
    for (let call = 0; call < 7; call++) expect(await ask(egress.port, url)).toMatchObject({ status: 502 });
    expect(taken()).toBeGreaterThanOrEqual(7);
  });

  it("has only those dialled that policy allows", async () => {
    const egress = await start({
      names: { "api.test": ["127.0.0.2", "127.0.0.1"] },
      policies: `${allowOutbound('hosts: ["*.test"]')}
---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: not-there, namespace: shop }
spec:
  direction: OUTBOUND
  action: DENY
  rules: [{ when: [{ key: destination.ip, values: [127.0.0.1] }] }]
`,
    });
    expect(await ask(egress.port, `http://api.test:${app.port}/`)).toMatchObject({ status: 502 });
    expect(app.requests).toHaveLength(0);
    const record = await egress.sidecar.audit.next(({ kind }) => kind === "request");
    expect(record).toMatchObject({ reason: "E_UPSTREAM_CONNECT" });
  });
});
