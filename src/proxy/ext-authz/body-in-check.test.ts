import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { bodyOf } from "../../../test/support/app.ts";
import { startExtAuthzServer } from "../../../test/support/ext-authz-server.ts";
import { parseSidecarConfig } from "../../config/load-sidecar-config.ts";
import { createGrpcProvider } from "./grpc-provider.ts";
import { createHttpProvider } from "./http-provider.ts";
import type { AuthorizationProvider, CheckAnswer, CheckedBody, CheckQuestion } from "./provider.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function provider(kind: "Grpc" | "Http", port: number, more: string, strict = true): AuthorizationProvider {
  const { config } = parseSidecarConfig(
    `identity: { files: { svid: a, key: b, bundles: { example.org: c } } }
extensionProviders: [{ name: p, envoyExtAuthz${kind}: { service: 127.0.0.1, port: ${port}, timeout: 10s${more} } }]`,
    "/test/countersign.yaml",
    {},
  );
  const [read] = config.extensionProviders;
  if (read === undefined) throw new TypeError("no provider");
  const made = read.kind === "http" ? createHttpProvider(read) : createGrpcProvider(read, strict);
  cleanups.push(() => made.close());
  return made;
}

const PARTY = { ip: "10.0.0.1", port: 1234, principal: "" };
/** Its caller says that the body is partial, and is not believed. */
const RAW = ["Content-Type", "text/plain", "Expect", "100-continue", "X-Envoy-Auth-Partial-Body", "caller"];

function question(method: string, body: CheckedBody | undefined, size = -1): CheckQuestion {
  const lower = RAW.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
  const request = {
    id: "d-1",
    method,
    scheme: "http" as const,
    authority: "orders.shop",
    target: "/orders",
    fields: { raw: RAW, lower },
    protocol: "HTTP/1.1",
    size,
  };
  const ends = { source: PARTY, destination: PARTY, sni: "", startedUs: 0, clientCert: undefined, openCall: undefined };
  return { ...ends, request, body };
}

const bytes = (...values: number[]): Buffer => Buffer.from(values);
const whole = (text: string | Buffer): CheckedBody => ({ bytes: Buffer.from(text), isPartial: false });
const partial = (text: string | Buffer): CheckedBody => ({ bytes: Buffer.from(text), isPartial: true });
const STAYS = new AbortController().signal;
const FAILED = { kind: "failed", error: { code: "E_EXT_AUTHZ_FAILED" } };

describe("a gRPC provider that gets bodies", () => {
  async function check(body: CheckedBody | undefined, asBytes: boolean, strict: boolean, size?: number) {
    const server = await startExtAuthzServer(() => ({ status: { code: 0 } }));
    cleanups.push(() => server.close());
    const more = `, includeRequestBodyInCheck: { maxRequestBytes: 100, packAsBytes: ${asBytes} }`;
    const made = provider("Grpc", server.port, more, strict);
    const answer = await made.check(question("POST", body, size), STAYS);
    return { answer, http: server.seen[0]?.attributes.request.http };
  }

  it.each<readonly [string, CheckedBody | undefined, string, string | undefined, number]>([
    ["a text", whole("hä?"), "hä?", "false", 4],
    ["the beginning of one", partial("hä"), "hä", "true", 999],
    ["a body that turned out empty", whole(""), "", "false", 0],
    ["none at all", undefined, "", undefined, 999],
    ["a text cut in a character of two bytes", partial(bytes(0x61, 0xc3)), "a", "true", 999],
    ["… of three, after one", partial(bytes(0x61, 0xe2)), "a", "true", 999],
    ["… of three, after two", partial(bytes(0x61, 0xe2, 0x82)), "a", "true", 999],
    ["… of four, after three", partial(bytes(0x61, 0xf0, 0x9f, 0x98)), "a", "true", 999],
    ["a text cut behind a character of four", partial("a😀"), "a😀", "true", 999],
    ["the first byte of a character alone", partial(bytes(0xe2)), "", "true", 999],
  ])("as text: %s", async (_, body, text, isPartial, size) => {
    const { answer, http } = await check(body, false, true, 999);
    expect(answer.kind).toBe("allow");
    expect([http?.body, http?.rawBody.length, http?.size]).toEqual([text, 0, size]);
    expect(http?.headers["x-envoy-auth-partial-body"]).toBe(isPartial);
  });

  it.each<readonly [string, CheckedBody, string]>([
    ["bytes that are no text", whole(bytes(0x61, 0xff, 0xfe, 0xc3, 0x62)), "a!!!b"],
    ["a character that ends nowhere", whole(bytes(0x61, 0xe2)), "a!"],
    ["too many bytes of a character", partial(bytes(0x80, 0x80, 0x80, 0x80)), "!!!!"],
  ])("as text: strict mode refuses %s, istio mode shows where they are, as Envoy", async (_, body, shown) => {
    const strict = await check(body, false, true);
    expect(strict.answer).toMatchObject(FAILED);
    expect(strict.http).toBeUndefined();
    const istio = await check(body, false, false);
    expect([istio.answer.kind, istio.http?.body]).toEqual(["allow", shown]);
  });

  it.each<readonly [string, CheckedBody]>([
    ["any bytes", whole(bytes(0, 0xff, 0xfe, 0x0a))],
    ["a cut one, cut where it is", partial(bytes(0x61, 0xe2))],
  ])("as bytes: %s", async (_, body) => {
    const { answer, http } = await check(body, true, true);
    expect(answer.kind).toBe("allow");
    expect([http?.body, Buffer.from(http?.rawBody ?? [])]).toEqual(["", body.bytes]);
    expect(http?.headers["x-envoy-auth-partial-body"]).toBe(String(body.isPartial));
  });

  it("gets 4 MiB", async () => {
    const { answer, http } = await check(whole(Buffer.alloc(4_194_304 - 1024, "a")), true, true);
    expect([answer.kind, http?.rawBody.length]).toEqual(["allow", 4_193_280]);
  });
});

describe("an HTTP provider that gets bodies", () => {
  async function check(method: string, body: CheckedBody | undefined) {
    const seen: unknown[] = [];
    const server = createServer((request, response) => {
      void bodyOf(request).then((text) => {
        const { headers } = request;
        seen.push([request.method, text, headers["content-length"], headers["x-envoy-auth-partial-body"]]);
        expect([headers["transfer-encoding"], headers.expect]).toEqual([undefined, undefined]);
        response.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => {
      server.close();
      server.closeAllConnections();
    });
    const more = ", includeRequestBodyInCheck: { maxRequestBytes: 100 }, includeRequestHeadersInCheck: ['*']";
    const made = provider("Http", (server.address() as AddressInfo).port, more);
    const answer: CheckAnswer = await made.check(question(method, body), STAYS);
    return { answer, seen };
  }

  it.each<readonly [string, string, CheckedBody | undefined, readonly unknown[]]>([
    ["a text", "POST", whole("hello"), ["POST", "hello", "5", "false"]],
    ["the beginning of one", "POST", partial("hel"), ["POST", "hel", "3", "true"]],
    ["bytes that are no text", "PUT", whole(bytes(0xff, 0, 0xc3)), ["PUT", "\xff\0\xc3", "3", "false"]],
    ["a body that turned out empty", "POST", whole(""), ["POST", "", "0", "false"]],
    ["none at all", "POST", undefined, ["POST", "", "0", undefined]],
    ["a GET with a body", "GET", whole("hello"), ["GET", "hello", "5", "false"]],
    ["a DELETE with a body", "DELETE", whole("hello"), ["DELETE", "hello", "5", "false"]],
  ])("%s", async (_, method, body, expected) => {
    const { answer, seen } = await check(method, body);
    expect([answer.kind, seen]).toEqual(["allow", [expected]]);
  });
});
