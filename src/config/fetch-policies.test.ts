import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import { startBundleEndpoint } from "../../test/support/bundle-endpoint.ts";
import { type CertOptions, createTestCa, type TestCa } from "../../test/support/cert-factory.ts";
import { createPolicyFetch } from "./fetch-policies.ts";

async function serve(answer: RequestListener): Promise<string> {
  const server: Server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/orders.yaml`;
}
const never = new AbortController().signal;

it("asks with the ETag that it is given, and for nothing compressed", async () => {
  const seen: unknown[] = [];
  const url = await serve(({ headers }, response) => {
    seen.push([headers["if-none-match"], headers["accept-encoding"]]);
    if (headers["if-none-match"] === '"v1"') response.writeHead(304).end();
    else response.writeHead(200, { etag: '"v1"' }).end("a: é\n");
  });
  const fetch = createPolicyFetch(undefined);
  expect(await fetch(url, undefined, never)).toEqual({ kind: "content", text: "a: é\n", etag: '"v1"' });
  expect(await fetch(url, '"v1"', never)).toEqual({ kind: "unchanged" });
  expect(seen).toEqual([
    [undefined, "identity"],
    ['"v1"', "identity"],
  ]);
});

it.each<[string, RequestListener, object]>([
  ["404", (_, response) => void response.writeHead(404).end(), { message: "the server answered 404" }],
  [
    "a redirect",
    (_, response) => void response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
    { message: "the server answered 302, a redirect, which is not followed" },
  ],
  ["304 to nothing", (_, response) => void response.writeHead(304).end(), { message: /answered 304/ }],
  ["bytes that are no UTF-8", (_, response) => void response.end(Buffer.from([0xff])), { message: /not UTF-8/ }],
  [
    "something compressed",
    (_, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end("x"),
    { message: /compressed/ },
  ],
  [
    "more than 4 MiB",
    (_, response) => void response.end(Buffer.alloc(4 * 2 ** 20 + 1)),
    { message: /UND_ERR_RES_EXCEEDED_MAX_SIZE/ },
  ],
  ["an answer that breaks off", (request) => void request.socket.destroy(), { message: /the fetch failed/ }],
  [
    "503 with a time to come again",
    (_, response) => void response.writeHead(503, { "retry-after": "120" }).end(),
    { message: "the server answered 503", waitMs: 120_000 },
  ],
  [
    "503 with a time without bounds",
    (_, response) => void response.writeHead(503, { "retry-after": "999999999" }).end(),
    { waitMs: 3_600_000 },
  ],
])("refuses %s", async (_, answer, expected) => {
  const url = await serve(answer);
  const failed: unknown = await createPolicyFetch(undefined)(url, undefined, never).catch((error: unknown) => error);
  const matched = Object.fromEntries(
    Object.entries(expected).map(([key, value]) => [
      key,
      value instanceof RegExp ? expect.stringMatching(value) : value,
    ]),
  );
  expect(failed).toMatchObject({ code: "E_POLICY_FETCH", ...matched });
});

describe("an answer", () => {
  const head = 'HTTP/1.1 200 OK\r\nETag: "v1"\r\n';
  const closing = `${head}Connection: close\r\n`;
  it.each<[string, string, string | RegExp]>([
    ["by its length", `${closing}Content-Length: 5\r\n\r\na: 1\n`, "a: 1\n"],
    ["by its chunks", `${closing}Transfer-Encoding: Chunked\r\n\r\n5\r\na: 1\n\r\n0\r\n\r\n`, "a: 1\n"],
    ["by the connection alone", `${closing}\r\na: 1\n`, /neither a Content-Length nor chunks/],
    ["by the connection of HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\na: 1\n", /neither a Content-Length nor chunks/],
    ["by the connection, in a coding", `${closing}Transfer-Encoding: gzip\r\n\r\na: 1\n`, /neither|the fetch failed/],
    ["by two lengths", `${head}Content-Length: 5\r\nContent-Length: 2\r\n\r\na: 1\n`, /the fetch failed/],
    ["by a length that does not come", `${closing}Content-Length: 9\r\n\r\na: 1\n`, /the fetch failed/],
    ["by chunks that break off", `${closing}Transfer-Encoding: chunked\r\n\r\n5\r\na: 1\n\r\n`, /the fetch failed/],
    [
      "by chunks that break off, kept alive",
      `${head}Transfer-Encoding: chunked\r\n\r\n5\r\na: 1\n\r\n`,
      /fetch failed/,
    ],
    ["by both", `${closing}Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, /the fetch failed/],
  ])("that ends %s", async (_, bytes, expected) => {
    const server = createTcpServer((socket) => {
      socket.on("error", () => undefined).once("data", () => socket.end(bytes));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/orders.yaml`;
    const got = createPolicyFetch(undefined)(url, undefined, never);
    if (typeof expected === "string") expect(await got).toMatchObject({ text: expected });
    else await expect(got).rejects.toMatchObject({ code: "E_POLICY_FETCH", message: expect.stringMatching(expected) });
  });
});

it("ends when it is told to", async () => {
  const stop = new AbortController();
  const url = await serve(() => stop.abort());
  await expect(createPolicyFetch(undefined)(url, undefined, stop.signal)).rejects.toMatchObject({
    message: "no complete answer in time",
  });
});

describe("over https", () => {
  const trusted = createTestCa("web.test");
  const folder = mkdtempSync(join(tmpdir(), "countersign-fetch-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const caFile = join(folder, "ca.pem");
  writeFileSync(caFile, trusted.certPem);

  async function https(ca: TestCa, content: CertOptions): Promise<string> {
    const endpoint = await startBundleEndpoint(ca.issue(content));
    onTestFinished(() => endpoint.close());
    endpoint.serve("a: 1\n");
    return endpoint.url.replace("127.0.0.1", "localhost");
  }

  it("takes policies of a server that the authorities have certified", async () => {
    const url = await https(trusted, { dnsSans: ["localhost"] });
    expect(await createPolicyFetch(caFile)(url, undefined, never)).toMatchObject({ kind: "content", text: "a: 1\n" });
  });

  it.each<[string, TestCa, CertOptions]>([
    ["by others", createTestCa("web.test"), { dnsSans: ["localhost"] }],
    ["for another name", trusted, { dnsSans: ["other.test"] }],
  ])("does not of one that is certified %s", async (_, ca, content) => {
    const url = await https(ca, content);
    await expect(createPolicyFetch(caFile)(url, undefined, never)).rejects.toMatchObject({
      code: "E_POLICY_FETCH",
      message: expect.stringMatching(/^the fetch failed \((?:ERR_TLS_CERT_ALTNAME_INVALID|.*CERT.*|.*VERIFY.*)\)$/),
    });
  });

  it("asks nobody when the file of authorities is gone", async () => {
    const failed = createPolicyFetch(join(folder, "gone.pem"))("https://127.0.0.1:1/", undefined, never);
    await expect(failed).rejects.toMatchObject({ message: `the file ${join(folder, "gone.pem")} cannot be read` });
  });
});
