import { type AddressInfo, createServer, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type CheckReply, header, startExtAuthzServer } from "../../../test/support/ext-authz-server.ts";
import type { CheckRequestMessage } from "./check-proto.ts";
import { createGrpcProvider } from "./grpc-provider.ts";
import type { AuthorizationProvider, CheckAnswer, CheckQuestion } from "./provider.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function provider(port: number): AuthorizationProvider {
  const made = createGrpcProvider(
    {
      kind: "grpc",
      name: "p",
      host: "127.0.0.1",
      port,
      timeoutMs: 300,
      statusOnError: 403,
      body: undefined,
      at: { file: "" },
    },
    true,
  );
  cleanups.push(() => made.close());
  return made;
}

const RAW = ["Host", "orders.shop", "X-Tenant", "a", "x-tenant", "b", "Cookie", "a=1", "cookie", "b=2", "X-Utf", "Ã¤"];
const QUESTION: CheckQuestion = {
  source: { ip: "10.0.0.1", port: 1234, principal: "spiffe://example.org/ns/shop/sa/web" },
  destination: { ip: "10.0.0.2", port: 8080, principal: "spiffe://example.org/ns/shop/sa/orders" },
  sni: "orders.shop",
  startedUs: 1_700_000_000_123_456,
  openCall: undefined,
  clientCert: "URI=spiffe://example.org/ns/shop/sa/web",
  request: {
    id: "d-1",
    method: "POST",
    scheme: "https",
    authority: "orders.shop",
    target: "/orders/7?x=1",
    fields: { raw: RAW, lower: RAW.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()) },
    protocol: "HTTP/1.1",
    size: -1,
  },
};
const STAYS = new AbortController().signal;
const OK = { status: { code: 0 } };

async function answerTo(
  reply: CheckReply | Error | undefined,
  question: CheckQuestion = QUESTION,
): Promise<{ readonly answer: CheckAnswer; readonly seen: CheckRequestMessage[] }> {
  const server = await startExtAuthzServer(() => reply);
  cleanups.push(() => server.close());
  return { answer: await provider(server.port).check(question, STAYS), seen: server.seen };
}

describe("a gRPC provider", () => {
  it("gets who calls whom and the whole request as policy sees it", async () => {
    const { answer, seen } = await answerTo(OK);
    expect(answer).toEqual({ kind: "allow", changes: undefined });
    expect(seen[0]?.attributes).toMatchObject({
      source: {
        address: { socketAddress: { address: "10.0.0.1", portValue: 1234 } },
        principal: QUESTION.source.principal,
      },
      destination: { address: { socketAddress: { address: "10.0.0.2", portValue: 8080 } } },
      tlsSession: { sni: "orders.shop" },
      request: {
        time: { seconds: 1_700_000_000, nanos: 123_456_000 },
        http: {
          id: "d-1",
          method: "POST",
          path: "/orders/7?x=1",
          host: "orders.shop",
          scheme: "https",
          protocol: "HTTP/1.1",
          size: -1,
          headers: {
            ":method": "POST",
            ":path": "/orders/7?x=1",
            ":authority": "orders.shop",
            "x-tenant": "a,b",
            cookie: "a=1; b=2",
            "x-utf": "ä",
            "x-forwarded-client-cert": "URI=spiffe://example.org/ns/shop/sa/web",
          },
        },
      },
    });
    expect(seen[0]?.attributes.request.http?.headers).not.toHaveProperty("host");
  });

  it("is asked about a TCP connection without a request", async () => {
    const { answer, seen } = await answerTo(OK, { ...QUESTION, request: undefined });
    expect([answer.kind, seen[0]?.attributes.request.http]).toEqual(["allow", null]);
  });

  it("sets, appends and removes headers by the action that it names", async () => {
    const okResponse = {
      headers: [
        header("X-User", "alice"),
        header("x-groups", "a", { append: { value: true } }),
        header("x-groups", "ä", { append: { value: true } }),
        header("x-tenant", "no", { appendAction: 1 }),
        header("x-new", "yes", { appendAction: 1 }),
        header("x-absent", "no", { appendAction: 3 }),
        header("x-utf", "over", { appendAction: 3 }),
      ],
      headersToRemove: ["Cookie"],
      responseHeadersToAdd: [
        header("x-seen", "1"),
        header("Connection", "close"),
        header("x-countersign-id", "forged"),
      ],
    };
    expect((await answerTo({ ...OK, okResponse })).answer).toEqual({
      kind: "allow",
      changes: {
        set: [
          ["x-user", "alice"],
          ["x-new", "yes"],
          ["x-utf", "over"],
        ],
        append: [
          ["x-groups", "a"],
          ["x-groups", "Ã¤"],
        ],
        remove: ["cookie"],
        responseFields: ["x-seen", "1"],
      },
    });
  });

  it("denies with 403, or with its own status, headers and body", async () => {
    expect((await answerTo({ status: { code: 7 } })).answer).toEqual({
      kind: "deny",
      status: 403,
      fields: [],
      body: Buffer.alloc(0),
    });
    const deniedResponse = { status: { code: 401 }, headers: [header("WWW-Authenticate", "Basic")], body: "nö" };
    expect((await answerTo({ status: { code: 16 }, deniedResponse })).answer).toEqual({
      kind: "deny",
      status: 401,
      fields: ["www-authenticate", "Basic"],
      body: Buffer.from("nö"),
    });
  });
});

describe("without a valid answer the check has failed", () => {
  const changes = (okResponse: object): CheckReply => ({ ...OK, okResponse });
  it.each<readonly [string, CheckReply | Error]>([
    ["an empty message", {}],
    ["headers without a status", { okResponse: {} }],
    ["an error", new Error("boom")],
    ["OK beside a denial", { ...OK, deniedResponse: { status: { code: 403 } } }],
    ["a denial with the status 100", { status: { code: 7 }, deniedResponse: { status: { code: 100 } } }],
    ["a change of Host", changes({ headers: [header("Host", "evil")] })],
    ["a change of the path", changes({ headers: [header(":path", "/admin")] })],
    ["a change of the method", changes({ headers: [header(":method", "PUT")] })],
    ["a change of the framing", changes({ headers: [header("Content-Length", "0")] })],
    ["a forged identity", changes({ headers: [header("x-forwarded-client-cert", "URI=spiffe://a/b")] })],
    ["a forged identity with underscores", changes({ headers: [header("X_Countersign_Hops", "0")] })],
    ["a removal of Host", changes({ headersToRemove: ["host"] })],
    ["a name with a line end", changes({ headers: [header("x\r\ny", "a")] })],
    ["a value with a line end", changes({ headers: [header("x", "a\r\nHost: evil")] })],
    ["a value with NUL", changes({ headers: [header("x", "a\u0000")] })],
    ["a value of 17 KiB", changes({ headers: [header("x", "a".repeat(17_000))] })],
    ["a change of the query", changes({ queryParametersToSet: [{ key: "admin", value: "1" }] })],
    ["a removal from the query", changes({ queryParametersToRemove: ["x"] })],
    ["a message of more than 256 KiB", { status: { code: 7 }, deniedResponse: { body: "x".repeat(300_000) } }],
  ])("%s", async (_, reply) => {
    expect((await answerTo(reply)).answer).toMatchObject({ kind: "failed", error: { code: "E_EXT_AUTHZ_FAILED" } });
  });

  it("silence", async () => {
    expect((await answerTo(undefined)).answer).toMatchObject({
      kind: "failed",
      error: { code: "E_EXT_AUTHZ_TIMEOUT" },
    });
  });

  it.each([
    ["garbage", (socket: Socket) => void socket.write("no HTTP/2 here\r\n")],
    ["a closed connection", (socket: Socket) => void socket.destroy()],
    ["a server that says nothing", () => undefined],
  ])("%s", async (_, behave) => {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => undefined);
      behave(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    });
    const answer = await provider((server.address() as AddressInfo).port).check(QUESTION, STAYS);
    expect(answer).toMatchObject({ kind: "failed" });
  });

  it("a caller that leaves ends the check at once", async () => {
    const gone = new AbortController();
    const server = await startExtAuthzServer(() => {
      gone.abort();
      return undefined;
    });
    cleanups.push(() => server.close());
    expect(await provider(server.port).check(QUESTION, gone.signal)).toMatchObject({ kind: "failed" });
  });
});
