import type { IncomingMessage, ServerResponse } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { afterEach, describe, expect, it } from "vitest";
import { heldBodies } from "../../src/proxy/held-bodies.ts";
import { webSocketAccept } from "../../src/proxy/http1/websocket-accept.ts";
import { bodyOf, startApp, type TestApp } from "../support/app.ts";
import { createTestCa, type TestCa, type TestIssued } from "../support/cert-factory.ts";
import { allowOutbound, startEgress } from "../support/egress.ts";
import { eventually } from "../support/eventually.ts";
import { type CheckReply, startExtAuthzServer } from "../support/ext-authz-server.ts";
import { FLAG, FRAME, frame, headers as headersFrame, requestFields } from "../support/http2-frames.ts";
import { http2RawClient } from "../support/http2-raw-client.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { type RawClient, rawClient } from "../support/raw-client.ts";
import { tlsClient } from "../support/tls-client.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  // whatever became of a call, nothing of its body is kept
  expect([heldBodies.taken, heldBodies.waiting.size]).toEqual([0, 0]);
});

const custom = (provider = "p", path = "/checked*"): string => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask-${provider}, namespace: shop }
spec: { action: CUSTOM, provider: { name: ${provider} }, rules: [{ to: [{ operation: { paths: ["${path}"] } }] }] }
`;
const OK = { status: { code: 0 } };
const NO = { status: { code: 7 } };
/** What the app was sent. */
interface Served {
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
}

/** What a provider saw of each body: its text, whether that is partial, and its size. */
type Shown = readonly [body: string, isPartial: string | undefined, size: number];

interface Provider {
  readonly yaml: string;
  readonly shown: Shown[];
}

async function provider(
  body: string | undefined,
  answer: (shown: Shown) => CheckReply | undefined = () => OK,
  name = "p",
): Promise<Provider> {
  const shown: Shown[] = [];
  const server = await startExtAuthzServer((check) => {
    const http = check.attributes.request.http;
    if (http === undefined) throw new TypeError("no request");
    const text = http.body + Buffer.from(http.rawBody).toString("latin1");
    const one: Shown = [text, http.headers["x-envoy-auth-partial-body"], http.size];
    shown.push(one);
    return answer(one);
  });
  cleanups.push(() => server.close());
  const more = body === undefined ? "" : `, includeRequestBodyInCheck: { ${body} }`;
  const yaml = `{ name: ${name}, envoyExtAuthzGrpc: { service: 127.0.0.1, port: ${server.port}, timeout: 20s${more} } }`;
  return { yaml, shown };
}

interface World {
  readonly sidecar: TestSidecar;
  readonly port: number;
  readonly ca: TestCa;
  readonly web: TestIssued;
  readonly app: TestApp;
  readonly served: Served[];
}

interface WorldOptions {
  readonly policies?: string;
  readonly config?: string;
  readonly inbound?: string;
  readonly app?: (request: IncomingMessage, response: ServerResponse) => void;
}

/** A caller with an SVID → orders' sidecar, which asks → an app that says how many bytes it got. */
async function world(providers: readonly Provider[], options: WorldOptions = {}): Promise<World> {
  const served: Served[] = [];
  const app = await startApp((request, response) => {
    if (options.app !== undefined) {
      options.app(request, response);
      return;
    }
    bodyOf(request).then(
      (body) => {
        served.push({ body, headers: request.headers, trailers: request.trailers });
        response.end(`app got ${body.length}`);
      },
      () => undefined, // a caller that left
    );
  });
  cleanups.push(() => app.close());
  const ca = createTestCa(TRUST_DOMAIN);
  const sidecar = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: options.policies ?? ALLOW_WEB + custom(),
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http${options.inbound ?? ""} }]
extensionProviders: [${providers.map(({ yaml }) => yaml).join(", ")}]
${options.config ?? ""}`,
  });
  cleanups.push(() => sidecar.sidecar.drain(0));
  return { sidecar, port: sidecar.port("in"), ca, web: ca.issue({ spiffeId: WEB }), app, served };
}

async function http1({ port, web }: World): Promise<RawClient> {
  const client = await tlsClient(port, web);
  cleanups.push(() => client.socket.destroy());
  return client;
}

function http2({ port, web }: World): ClientHttp2Session {
  const { chainPem: cert, keyPem: key } = web;
  const session = connectHttp2(`https://127.0.0.1:${port}`, { cert, key, rejectUnauthorized: false });
  session.on("error", () => undefined);
  cleanups.push(() => session.destroy());
  return session;
}

const post = (length: number, more = "", path = "/checked"): string =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n${more}\r\n`;
const chunkedPost = "POST /checked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n";
const chunks = (...texts: readonly string[]): string =>
  texts.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join("");
const gotAll = (text: string): boolean => /app got \d+/.test(text) || /x-countersign-code/i.test(text);
const statusOf = (received: string): string => received.slice(9, 12);

/** Sends a body of that many digits by one version of HTTP or the other, announced or not, with trailers where it is not. */
async function send(
  to: World,
  how: string,
  length: number,
): Promise<{ readonly status: string; readonly body: string }> {
  const body = Buffer.alloc(length, "0123456789");
  if (how.startsWith("HTTP/1.1")) {
    const client = await http1(to);
    if (how.endsWith("chunked")) {
      client.send(`${chunkedPost}${chunks(body.toString())}0\r\nX-Sum: 9\r\n\r\n`);
    } else client.send(post(length) + body.toString());
    const received = await client.until((text) => gotAll(text) && text.includes("\r\n\r\n"));
    return { status: statusOf(received), body: received };
  }
  const trailing = how.endsWith("chunked");
  const announced = trailing ? {} : { "content-length": String(length) };
  const fields = { ":method": "POST", ":path": "/checked", ...announced };
  const stream = http2(to).request(fields, { waitForTrailers: trailing });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "9" }));
  stream.on("error", () => undefined);
  stream.end(body);
  const status = new Promise<string>((resolve) =>
    stream.on("response", (fieldsOfAnswer) => resolve(String(fieldsOfAnswer[":status"]))),
  );
  return { status: await status, body: await bodyOf(stream) };
}

const WAYS = ["HTTP/1.1, length", "HTTP/1.1, chunked", "HTTP/2, length", "HTTP/2, chunked"] as const;
/** Far more than any window or buffer of ours. */
const LONG = 700_000;

describe.each(WAYS)("a body that a provider is to see: %s", (how) => {
  const digits = (length: number): string => "0123456789".repeat(Math.ceil(length / 10)).slice(0, length);

  it.each([1, 10, 40_000, LONG])("of %i bytes is shown whole, and reaches the app unchanged", async (length) => {
    const p = await provider("maxRequestBytes: 1000000");
    const w = await world([p]);
    const answer = await send(w, how, length);
    expect([answer.status, answer.body]).toEqual(["200", expect.stringContaining(`app got ${length}`)]);
    expect(p.shown).toEqual([[digits(length), "false", length]]);
    expect(w.served.map(({ body }) => body)).toEqual([digits(length)]);
    if (how.endsWith("chunked")) expect(w.served[0]?.trailers).toEqual({ "x-sum": "9" });
    const record = await w.sidecar.audit.next(() => true);
    expect(record).toMatchObject({ decision: "allow", status: 200, bytesIn: length });
  });

  it.each([
    [99_999, LONG],
    [10, 11],
    [10, LONG],
  ])("is shown as far as %i bytes of %i, and reaches the app unchanged", async (most, length) => {
    const p = await provider(`maxRequestBytes: ${most}, allowPartialMessage: true`);
    const w = await world([p]);
    const answer = await send(w, how, length);
    expect([answer.status, answer.body]).toEqual(["200", expect.stringContaining(`app got ${length}`)]);
    expect(p.shown).toEqual([[digits(most), "true", how.endsWith("chunked") ? -1 : length]]);
    expect(w.served.map(({ body }) => body)).toEqual([digits(length)]);
    if (how.endsWith("chunked")) expect(w.served[0]?.trailers).toEqual({ "x-sum": "9" });
  });

  it("has its call denied by what it says", async () => {
    const p = await provider("maxRequestBytes: 10, packAsBytes: true", ([text]) => (text === "012" ? OK : NO));
    const w = await world([p]);
    expect((await send(w, how, 3)).status).toBe("200");
    expect((await send(w, how, 4)).status).toBe("403");
    expect(w.served.map(({ body }) => body)).toEqual(["012"]);
  });

  it.each([11, LONG])("is refused where it is longer than that: %i bytes", async (length) => {
    const p = await provider("maxRequestBytes: 10");
    const w = await world([p]);
    expect((await send(w, how, length)).status).toBe("413");
    expect([p.shown, w.served]).toEqual([[], []]);
    const record = await w.sidecar.audit.next(() => true);
    expect(record).toMatchObject({
      decision: "deny",
      reason: "E_EXT_AUTHZ_BODY_TOO_LARGE",
      rule: "ns[shop]-policy[ask-p]-rule[0]",
      status: 413,
    });
  });
});

it.each(["HTTP/1.1, length", "HTTP/1.1, chunked", "HTTP/2, length"])(
  "a body of just as many bytes as a provider sees of longer ones is no partial one: %s",
  async (how) => {
    const p = await provider("maxRequestBytes: 10, allowPartialMessage: true");
    expect((await send(await world([p]), how, 10)).status).toBe("200");
    expect(p.shown).toEqual([["0123456789", "false", 10]]);
  },
);

describe("a call without a body", () => {
  it.each([
    ["GET", "GET /checked HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["POST", post(0)],
    ["one that expects to be told to go on with nothing", post(0, "Expect: 100-continue\r\n")],
    ["one that claims to have one", "GET /checked HTTP/1.1\r\nHost: a\r\nX-Envoy-Auth-Partial-Body: false\r\n\r\n"],
  ])("is asked about at once: %s", async (_, text) => {
    const p = await provider("maxRequestBytes: 10");
    const client = await http1(await world([p]));
    client.send(text);
    expect(await client.until(gotAll)).toMatch(/HTTP\/1.1 200 [\s\S]*app got 0$/);
    expect(p.shown).toEqual([["", undefined, 0]]);
  });

  it("may become a WebSocket, whose bytes are no body", async () => {
    const p = await provider("maxRequestBytes: 10");
    const w = await world([p], { inbound: ", upgrades: [websocket]" });
    const key = "dGhlIHNhbXBsZSBub25jZQ==";
    w.app.server.on("upgrade", (_, socket) => {
      const accept = `Sec-WebSocket-Accept: ${webSocketAccept(key)}`;
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${accept}\r\n\r\n`,
      );
      socket.pipe(socket);
    });
    const client = await http1(w);
    client.send(
      "GET /checked HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
    );
    await client.until((text) => text.startsWith("HTTP/1.1 101 "));
    client.send("bytes of the tunnel");
    await client.until((text) => text.endsWith("bytes of the tunnel"));
    expect(p.shown).toEqual([["", undefined, 0]]);
  });

  it("turns out to have none: what it announced was an empty one", async () => {
    const p = await provider("maxRequestBytes: 10");
    const client = await http1(await world([p]));
    client.send(chunkedPost);
    client.send("0\r\n\r\n");
    expect(await client.until(gotAll)).toMatch(/app got 0$/);
    expect(p.shown).toEqual([["", "false", 0]]);
  });
});

describe("a caller that waits to be told to go on", () => {
  const expecting = (length: number): string => post(length, "Expect: 100-continue\r\n");

  it("is told so once, when a provider needs its body", async () => {
    const p = await provider("maxRequestBytes: 10");
    const w = await world([p]);
    const client = await http1(w);
    client.send(expecting(5));
    await client.until((text) => text.startsWith("HTTP/1.1 100 Continue\r\n\r\n"));
    expect(p.shown).toEqual([]);
    client.send("hello");
    const received = await client.until(gotAll);
    expect(received.match(/HTTP\/1.1 \d+/g)).toEqual(["HTTP/1.1 100", "HTTP/1.1 200"]);
    expect([p.shown, w.served.map(({ body }) => body)]).toEqual([[["hello", "false", 5]], ["hello"]]);
  });

  it("is told so over HTTP/2", async () => {
    const w = await world([await provider("maxRequestBytes: 10")]);
    const stream = http2(w).request({ ":method": "POST", ":path": "/checked", expect: "100-continue" });
    await new Promise<void>((resolve) => stream.once("continue", resolve));
    stream.end("hello");
    expect(await bodyOf(stream)).toBe("app got 5");
  });

  it("is told at once that its body is too long", async () => {
    const w = await world([await provider("maxRequestBytes: 10")]);
    const client = await http1(w);
    client.send(expecting(11));
    expect(await client.closed()).toMatch(/^HTTP\/1.1 413 /);
    expect(w.served).toEqual([]);
  });

  it("keeps its body where a provider that sees none denies", async () => {
    const first = await provider(undefined, () => NO, "first");
    const second = await provider("maxRequestBytes: 10", () => OK, "second");
    const client = await http1(
      await world([first, second], { policies: ALLOW_WEB + custom("first") + custom("second") }),
    );
    client.send(expecting(5));
    expect(await client.until(gotAll)).toMatch(/^HTTP\/1.1 403 /);
    expect(second.shown).toEqual([]);
  });
});

describe("several providers", () => {
  it("are each shown what they want of it, one after the other", async () => {
    const providers = [
      await provider(undefined, () => OK, "a"),
      await provider("maxRequestBytes: 3, allowPartialMessage: true", () => OK, "b"),
      await provider("maxRequestBytes: 300000", () => OK, "c"),
    ];
    const policies = ALLOW_WEB + providers.map((_, at) => custom("abc"[at])).join("");
    for (const how of WAYS) {
      // oxlint-disable-next-line no-await-in-loop -- one provider for all
      const w = await world(providers, { policies });
      // oxlint-disable-next-line no-await-in-loop -- as above
      expect((await send(w, how, 200_000)).status).toBe("200");
      expect(w.served[0]?.body.length).toBe(200_000);
    }
    const length = [200_000, -1, 200_000, -1];
    expect(providers[0]?.shown.map(([text, partial]) => [text, partial])).toEqual(WAYS.map(() => ["", undefined]));
    expect(providers[1]?.shown).toEqual(length.map((size) => ["012", "true", size]));
    expect(providers[2]?.shown.map(([text, partial]) => [text.length, partial])).toEqual(
      WAYS.map(() => [200_000, "false"]),
    );
  });
});

describe("a body that is sent badly", () => {
  const TEN = "maxRequestBytes: 10";

  it("in chunks of one byte with extensions is one body", async () => {
    const p = await provider("maxRequestBytes: 100");
    const w = await world([p]);
    const client = await http1(w);
    client.send(chunkedPost);
    for (const letter of "hello") client.send(`1;x="a;b"\r\n${letter}\r\n`);
    client.send("0\r\nX-Sum: 1\r\n\r\n");
    await client.until(gotAll);
    expect([p.shown, w.served[0]?.body, w.served[0]?.trailers]).toEqual([
      [["hello", "false", 5]],
      "hello",
      { "x-sum": "1" },
    ]);
  });

  it("in frames of one byte is one body", async () => {
    const p = await provider("maxRequestBytes: 5000");
    const w = await world([p]);
    const client = await http2RawClient(w.port, { identity: w.web });
    cleanups.push(() => client.destroy());
    client.send(headersFrame(1, requestFields("/checked", [], "POST"), FLAG.END_HEADERS));
    for (let count = 0; count < 4_999; count++) client.send(frame(FRAME.DATA, 0, 1, Buffer.from("a")));
    client.send(frame(FRAME.DATA, FLAG.END_STREAM, 1, Buffer.from("b")));
    await client.next(({ type, flags }) => type === FRAME.DATA && (flags & FLAG.END_STREAM) !== 0);
    expect(p.shown.map(([text]) => text)).toEqual([`${"a".repeat(4_999)}b`]);
    expect(w.served[0]?.body.length).toBe(5_000);
  });

  it("has no part of the request behind it", async () => {
    const p = await provider(TEN, ([text]) => (text === "hello" ? OK : NO));
    const w = await world([p]);
    const client = await http1(w);
    client.send(`${post(5)}hello${post(3, "", "/other")}abc${post(4)}evil`);
    const received = await client.until((text) => text.match(/HTTP\/1.1 \d+/g)?.length === 3);
    expect(received.match(/HTTP\/1.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 403"]);
    expect(p.shown.map(([text]) => text)).toEqual(["hello", "evil"]);
    expect(w.served.map(({ body }) => body)).toEqual(["hello", "abc"]);
  });

  it.each([
    ["a chunk of no length", `${chunks("abc")}z\r\n`, "400"],
    ["a chunk that is longer than it says", "3\r\nabcd\r\n0\r\n\r\n", "400"],
    ["a trailer that frames", `${chunks("abc")}0\r\nContent-Length : 3\r\n\r\n`, "400"],
  ])("breaks its call before anybody is asked: %s", async (_, bytes, status) => {
    const p = await provider(TEN);
    const w = await world([p]);
    const client = await http1(w);
    client.send(chunkedPost);
    client.send(bytes);
    expect(statusOf(await client.closed())).toBe(status);
    expect([p.shown, w.served]).toEqual([[], []]);
  });

  it.each(["FIN", "RST"])("and ends early, by %s, reaches nobody", async (ends) => {
    const p = await provider(TEN);
    const w = await world([p]);
    const client = await http1(w);
    client.send(`${post(5)}hel`);
    await eventually(() => expect(heldBodies.taken).toBeGreaterThan(0));
    if (ends === "FIN") client.socket.end();
    else client.socket.destroy();
    expect(await w.sidecar.audit.next(() => true)).toMatchObject({ reason: "E_CALLER_GONE", bytesIn: 3 });
    expect([p.shown, w.served]).toEqual([[], []]);
  });

  it.each([
    ["less than its content-length", "3", FLAG.END_STREAM, "hel"],
    ["more than its content-length", "1", 0, "hello"],
  ])("by HTTP/2, %s, resets its stream and reaches nobody", async (_, length, flags, text) => {
    const p = await provider(TEN);
    const w = await world([p]);
    const client = await http2RawClient(w.port, { identity: w.web });
    cleanups.push(() => client.destroy());
    const announced = length === "3" ? "5" : length;
    const fields = requestFields("/checked", [["content-length", announced]], "POST");
    client.send(headersFrame(1, fields, FLAG.END_HEADERS));
    client.send(frame(FRAME.DATA, flags, 1, Buffer.from(text)));
    await client.next(({ type }) => type === FRAME.RST_STREAM);
    await w.sidecar.audit.next(() => true);
    expect([p.shown, w.served]).toEqual([[], []]);
  });

  it("too slowly is waited for no longer than a head", async () => {
    const p = await provider(TEN);
    const w = await world([p], { config: "timeouts: { head: 1s }" });
    const client = await http1(w);
    client.send(`${post(5)}h`);
    const drip = setInterval(() => client.socket.writable && client.send(""), 100);
    cleanups.push(() => clearInterval(drip));
    expect(await client.until(gotAll)).toMatch(/^HTTP\/1.1 408 [\s\S]*E_REQUEST_TIMEOUT/);
    expect(await w.sidecar.audit.next(() => true)).toMatchObject({ reason: "E_REQUEST_TIMEOUT", status: 408 });
    expect([p.shown, w.served, heldBodies.taken]).toEqual([[], [], 0]);
  });
});

describe("where there is no room for another body", () => {
  const MOST = 64 * 1024 * 1024;
  function fill(bytes: number): void {
    const nobody = { size: 0, giveUp: () => undefined };
    expect(heldBodies.take(nobody, bytes)).toBe(true);
    cleanups.push(() => heldBodies.giveBack(bytes));
  }

  it("its call is refused, and others go on", async () => {
    const p = await provider("maxRequestBytes: 10000");
    const w = await world([p]);
    fill(MOST - 2_000);
    const answer = await send(w, "HTTP/2, length", 3_000);
    expect(answer.status).toBe("503");
    expect(await w.sidecar.audit.next(() => true)).toMatchObject({ reason: "E_OVERLOADED", status: 503 });
    expect((await send(w, "HTTP/1.1, length", 2_000)).status).toBe("200");
    expect(p.shown.length).toBe(1);
  });

  it("because the sidecar uses too much memory, a call that still sends its body is refused", async () => {
    const p = await provider("maxRequestBytes: 10");
    const w = await world([p]);
    const { sidecar, config } = w.sidecar;
    const client = await http1(w);
    client.send(`${post(5)}hel`);
    await eventually(() => expect(heldBodies.taken).toBeGreaterThan(0));
    await sidecar.setConfig(
      { ...config, limits: { ...config.limits, memory: 1_048_576 } },
      w.sidecar.compile(ALLOW_WEB + custom()),
    );
    await eventually(() => expect(sidecar.overloaded).toBe(true));
    client.send("lo");
    expect(await client.until(gotAll)).toMatch(/^HTTP\/1.1 503 [\s\S]*E_OVERLOADED/);
    expect([p.shown, w.served]).toEqual([[], []]);
  });

  it("the call that has kept us waiting makes room", async () => {
    const p = await provider("maxRequestBytes: 10000");
    const w = await world([p]);
    fill(MOST - 5_000);
    const slow = await http1(w);
    slow.send(`${post(5_000)}${"x".repeat(4_999)}`);
    await eventually(() => expect(heldBodies.taken).toBe(MOST - 1));
    expect((await send(w, "HTTP/1.1, length", 3_000)).status).toBe("200");
    expect(await slow.until(gotAll)).toMatch(/^HTTP\/1.1 503 [\s\S]*E_OVERLOADED/);
  });
});

describe("while a call is open", () => {
  const later = custom("other", "/nothing");

  it("a provider that has seen its body is not asked again, and one that wants it now ends the call", async () => {
    const p = await provider("maxRequestBytes: 10");
    const other = await provider("maxRequestBytes: 10", () => OK, "other");
    const w = await world([p, other], {
      app: (request, response) => void request.resume().on("end", () => response.writeHead(200).write("begun")),
    });
    const client = await http1(w);
    client.send(`${post(5)}hello`);
    await client.until((text) => text.includes("begun"));
    w.sidecar.setPolicies(ALLOW_WEB + custom() + later);
    // whoever may be asked again is asked: another call shows that it would have been by now
    const second = await http1(w);
    second.send(`${post(3)}abc`);
    await second.until((text) => text.includes("begun"));
    expect([p.shown.length, other.shown.length, client.socket.destroyed]).toEqual([2, 0, false]);
    w.sidecar.setPolicies(ALLOW_WEB + custom() + custom("other"));
    expect(await w.sidecar.audit.next(() => true)).toMatchObject({
      decision: "deny",
      reason: "E_EXT_AUTHZ_BODY_PASSED",
      close: "policy-changed",
    });
    await client.closed();
    expect([p.shown.length, other.shown.length]).toEqual([2, 0]);
  });

  it("one without a body is asked about again", async () => {
    const other = await provider("maxRequestBytes: 10", () => NO, "other");
    const w = await world([await provider("maxRequestBytes: 10"), other], {
      app: (_, response) => response.writeHead(200).write("begun"),
    });
    const client = await http1(w);
    client.send("GET /checked HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until((text) => text.includes("begun"));
    w.sidecar.setPolicies(ALLOW_WEB + custom() + custom("other"));
    expect(await w.sidecar.audit.next(() => true)).toMatchObject({ reason: "E_EXT_AUTHZ_DENIED" });
    expect(other.shown).toEqual([["", undefined, 0]]);
  });

  it("and its body is still awaited, a new policy awaits the same body, and only that one asks", async () => {
    const p = await provider("maxRequestBytes: 100000");
    const other = await provider("maxRequestBytes: 1", () => OK, "other");
    const w = await world([p, other]);
    const client = await http1(w);
    client.send(`${post(50_000)}${"x".repeat(49_999)}`);
    await eventually(() => expect(heldBodies.taken).toBe(50_000));
    w.sidecar.setPolicies(ALLOW_WEB + custom() + later);
    client.send("y");
    expect(await client.until(gotAll)).toMatch(/app got 50000$/);
    expect(p.shown.map(([text]) => [text.length, text.at(-1)])).toEqual([[50_000, "y"]]);
    expect(w.served[0]?.body).toBe(`${"x".repeat(49_999)}y`);
  });
});

it("a stream whose beginning a provider has seen goes on both ways", async () => {
  const p = await provider("maxRequestBytes: 5, allowPartialMessage: true, packAsBytes: true");
  const w = await world([p], { app: (request, response) => void request.pipe(response) });
  const stream = http2(w).request({ ":method": "POST", ":path": "/checked" });
  let received = "";
  stream.on("data", (chunk: Buffer) => {
    received += chunk.toString();
  });
  stream.write("hello, ");
  await eventually(() => expect(received).toBe("hello, "));
  stream.write("how are you");
  await eventually(() => expect(received).toBe("hello, how are you"));
  expect(p.shown).toEqual([["hello", "true", -1]]);
  stream.end();
  await new Promise<void>((resolve) => stream.once("close", resolve));
});

it("a kept connection to the app that breaks under a held body costs the call, and no part of the body", async () => {
  const p = await provider("maxRequestBytes: 10");
  let requests = 0;
  const w = await world([p], {
    app: (request, response) => {
      if (++requests === 1) response.end("app got 0");
      else request.socket.resetAndDestroy();
    },
  });
  expect((await send(w, "HTTP/1.1, length", 1)).status).toBe("200");
  expect((await send(w, "HTTP/1.1, length", 5)).status).toBe("502");
  expect([p.shown.length, requests]).toEqual([2, 2]);
});

it("an app that answers without reading ends the call while most of its body is still held", async () => {
  const p = await provider("maxRequestBytes: 4194304, packAsBytes: true");
  const w = await world([p], { app: (_, response) => void response.end("app got 0") });
  const answer = await send(w, "HTTP/2, length", 4_000_000);
  expect([answer.status, answer.body, p.shown[0]?.[0].length]).toEqual(["200", "app got 0", 4_000_000]);
  expect(await w.sidecar.audit.next(() => true)).toMatchObject({ decision: "allow", status: 200, bytesIn: 4_000_000 });
});

describe("an HTTP provider", () => {
  it.each(WAYS)("gets the body as a body: %s", async (how) => {
    const seen: string[] = [];
    const authz = await startApp((request, response) => {
      void bodyOf(request).then((body) => {
        seen.push(`${request.method} ${request.url} ${body} ${String(request.headers["x-envoy-auth-partial-body"])}`);
        response.writeHead(body === "0123" ? 200 : 401).end();
      });
    });
    cleanups.push(() => authz.close());
    const body = "includeRequestBodyInCheck: { maxRequestBytes: 4, allowPartialMessage: true }";
    const yaml = `{ name: p, envoyExtAuthzHttp: { service: 127.0.0.1, port: ${authz.port}, timeout: 20s, ${body} } }`;
    const w = await world([{ yaml, shown: [] }]);
    expect((await send(w, how, 1_000)).status).toBe("200");
    expect((await send(w, how, 3)).status).toBe("401");
    expect(seen).toEqual(["POST /checked 0123 true", "POST /checked 012 false"]);
    expect(w.served.map(({ body: got }) => got.length)).toEqual([1_000]);
  });
});

describe("an OUTBOUND policy that has a provider asked", () => {
  const OUTBOUND = `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec: { direction: OUTBOUND, action: CUSTOM, provider: { name: p }, rules: [{}] }
`;
  it("shows it the body of a call through the egress proxy", async () => {
    const p = await provider("maxRequestBytes: 10", ([text]) => (text === "hello" ? OK : NO));
    const w = await world([], { policies: ALLOW_WEB });
    const egress = await startEgress({
      forward: "addresses: [127.0.0.0/8]",
      policies: `${allowOutbound('hosts: ["api.test"]')}---\n${OUTBOUND}`,
      names: { "api.test": ["127.0.0.1"] },
      more: `extensionProviders: [${p.yaml}]`,
    });
    cleanups.push(() => egress.close());
    const client = await rawClient(egress.port);
    cleanups.push(() => client.socket.destroy());
    const host = `api.test:${w.app.port}`;
    const head = `POST http://${host}/x HTTP/1.1\r\nHost: ${host}\r\n`;
    client.send(`${head}Content-Length: 5\r\n\r\nhello`);
    await client.until((text) => text.includes("app got 5"));
    client.send(`${head}Transfer-Encoding: chunked\r\n\r\n${chunks("h", "i")}0\r\n\r\n`);
    await client.until((text) => text.includes("E_EXT_AUTHZ_DENIED"));
    expect(new Set(p.shown.map(([text]) => text))).toEqual(new Set(["hello", "hi"]));
    expect(w.served.map(({ body }) => body)).toEqual(["hello"]);
  });

  it("shows it the body of our app's call", async () => {
    const p = await provider("maxRequestBytes: 10", ([text]) => (text === "hello" ? OK : NO));
    const w = await world([], { policies: ALLOW_WEB });
    const outbound = await startTestSidecar({
      ca: w.ca,
      svid: w.web,
      policies: OUTBOUND,
      config: `outbound: [{ name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${w.port}"], identity: "${ORDERS}", protocol: http }]
extensionProviders: [${p.yaml}]`,
    });
    cleanups.push(() => outbound.sidecar.drain(0));
    const client = await rawClient(outbound.port("out"));
    cleanups.push(() => client.socket.destroy());
    client.send(`${post(5)}hello${chunkedPost}${chunks("h", "i")}0\r\n\r\n${post(11)}`);
    const received = await client.until((text) => text.includes("TOO_LARGE"));
    expect(received.match(/HTTP\/1.1 \d+|E_[A-Z_]+(?=\r)/g)).toEqual([
      "HTTP/1.1 200",
      "HTTP/1.1 403",
      "E_EXT_AUTHZ_DENIED",
      "HTTP/1.1 413",
      "E_EXT_AUTHZ_BODY_TOO_LARGE",
    ]);
    expect([p.shown.map(([text]) => text), w.served.map(({ body }) => body)]).toEqual([["hello", "hi"], ["hello"]]);
  });
});
