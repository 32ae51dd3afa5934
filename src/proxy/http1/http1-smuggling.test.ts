import { createServer, METHODS } from "node:http";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { everyByte, readRequests, type SeenMessage } from "../../../test/support/http1-transcript.ts";
import type { RequestHead } from "./http1-events.ts";
import { OutputBuffer } from "./output-buffer.ts";
import { writeChunk, writeLastChunk, writeRequestHead } from "./write-head.ts";

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const post = (lines: string, body: string): string => `POST /first HTTP/1.1\r\nHost: a\r\n${lines}\r\n${body}`;
const lengthOf = (text: string): string => `Content-Length: ${text.length}\r\n`;
const hidden = `0\r\n\r\n${SMUGGLED}`;
const sized = `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`;
/** The ways in which a Transfer-Encoding has been hidden from one of two programs. */
const disguises = [
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding : chunked",
  "Transfer-Encoding\t: chunked",
  " Transfer-Encoding: chunked",
  "\tTransfer-Encoding: chunked",
  "X: x\n Transfer-Encoding: chunked",
  "X: x\nTransfer-Encoding: chunked",
  "X: x\rTransfer-Encoding: chunked",
  "Transfer-Encoding\n: chunked",
  "Transfer-Encoding:\n chunked",
  "Transfer-Encoding:\r\n chunked",
  "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
  "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
  "Transfer-Encoding: chunked\r\nTransfer-encoding: identity",
  "Transfer-Encoding: identity, chunked",
  "Transfer-Encoding: chunked, identity",
  "Transfer-Encoding: \x0bchunked",
  "Transfer-Encoding: \x0cchunked",
  "Transfer-Encoding: chunked\x0b",
  "Transfer-Encoding: \0chunked",
  "Transfer-Encoding: chunked\0",
  "Transfer-Encoding: \x85chunked",
  "Transfer-Encoding: \xa0chunked",
  'Transfer-Encoding: "chunked"',
  "Transfer-Encoding: 'chunked'",
  "Transfer-Encoding: chunk",
  "Transfer-Encoding: chunked;",
  "Transfer-Encoding: chunked;a=b",
  "Transfer-Encoding: chu nked",
  "Transfer-Encoding:",
  "Transfer-Encoding: ,chunked",
  "Transfer_Encoding: chunked",
  "Transfer-Encodin\xe7: chunked",
  "\x00Transfer-Encoding: chunked",
  "Transfer-Encoding\0: chunked",
  "Transfer-Encoding;: chunked",
  "Transfer-Encoding: chunked\r\nContent_Length: 3",
];

/** name, stream. In each of them some program has found the hidden request. */
const corpus: [string, string][] = [
  ["CL.TE", post(`${lengthOf(hidden)}Transfer-Encoding: chunked\r\n`, hidden)],
  ["TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", sized)],
  ["CL.TE in HTTP/1.0", post(`${lengthOf(hidden)}Transfer-Encoding: chunked\r\n`, hidden).replace("1.1", "1.0")],
  ["TE in HTTP/1.0", post("Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", hidden).replace("1.1", "1.0")],
  ["CL.CL", post(`Content-Length: 0\r\n${lengthOf(SMUGGLED)}`, SMUGGLED)],
  ["CL.CL in one line", post(`Content-Length: 0, ${SMUGGLED.length}\r\n`, SMUGGLED)],
  ["CL.CL, folded", post(`Content-Length: 0\r\n ${SMUGGLED.length}\r\n`, SMUGGLED)],
  ["a signed CL", post(`Content-Length: +${SMUGGLED.length}\r\n`, SMUGGLED)],
  ["a CL in hexadecimal", post("Content-Length: 0x0\r\n", SMUGGLED)],
  ["a CL with a comma", post("Content-Length: 1,0\r\n", SMUGGLED)],
  ["a CL that overflows to nothing", post("Content-Length: 18446744073709551616\r\n", SMUGGLED)],
  ["a CL behind a NUL", post("Content-Length: \x000\r\n", SMUGGLED)],
  ["a CL with space before the colon", post("Content-Length : 0\r\n", SMUGGLED)],
  ["a CL with an underscore", post("Content_Length: 0\r\n", SMUGGLED)],
  [
    "CL.TE by Connection",
    post(`${lengthOf(hidden)}Transfer-Encoding: chunked\r\nConnection: Content-Length\r\n`, hidden),
  ],
  ["a CONNECT with a body", `CONNECT a:80 HTTP/1.1\r\nHost: a\r\n${lengthOf(SMUGGLED)}\r\n${SMUGGLED}`],
  ["a size that overflows 64 bits", post("Transfer-Encoding: chunked\r\n", `10000000000000000\r\n${hidden}`)],
  [
    "a size that overflows 32 bits to 0, and more",
    post("Transfer-Encoding: chunked\r\n", `100000000000000000\r\n\r\n${SMUGGLED}`),
  ],
  ["a size with 0x", post("Transfer-Encoding: chunked\r\n", `0x0\r\n\r\n${SMUGGLED}`)],
  ["a size with a sign", post("Transfer-Encoding: chunked\r\n", `-0\r\n\r\n${SMUGGLED}`)],
  ["a size with space before it", post("Transfer-Encoding: chunked\r\n", ` 0\r\n\r\n${SMUGGLED}`)],
  ["a size with space behind it", post("Transfer-Encoding: chunked\r\n", `0 \r\n\r\n${SMUGGLED}`)],
  ["a size ended by LF", post("Transfer-Encoding: chunked\r\n", `0\n\r\n${SMUGGLED}`)],
  ["a size ended by CR", post("Transfer-Encoding: chunked\r\n", `0\r\r\n${SMUGGLED}`)],
  ["no size", post("Transfer-Encoding: chunked\r\n", `\r\n\r\n${SMUGGLED}`)],
  ["an extension with a bare LF (TERM.EXT)", post("Transfer-Encoding: chunked\r\n", `2;\nxx\r\n${hidden}`)],
  ["an extension with a bare CR", post("Transfer-Encoding: chunked\r\n", `2;\rxx\r\n${hidden}`)],
  [
    "a quoted extension with a line end",
    post("Transfer-Encoding: chunked\r\n", `1;a="\r\n\r\n0\r\n\r\n${SMUGGLED}"\r\n`),
  ],
  ["chunk data ended by LF (SPILL)", post("Transfer-Encoding: chunked\r\n", `5\r\nAAAAA\n${hidden}`)],
  ["chunk data longer than its size", post("Transfer-Encoding: chunked\r\n", `5\r\nAAAAAXX${hidden}`)],
  ["chunk data shorter than its size", post("Transfer-Encoding: chunked\r\n", `6\r\nAAAA\r\n${hidden}`)],
  ["trailers ended by LF", post("Transfer-Encoding: chunked\r\n", `0\r\n\n${SMUGGLED}`)],
  ["LF as line end", `POST /first HTTP/1.1\nHost: a\nContent-Length: 0\n\n${SMUGGLED}`],
  ["a head ended by LF", `POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\n${SMUGGLED}`],
  ["a request line with two versions", `GET /first HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n${SMUGGLED}`],
  ["HTTP/0.9", `GET /first\r\n\r\n${SMUGGLED}`],
  ["a request line that starts with a space", ` POST /first HTTP/1.1\r\nHost: a\r\n\r\n${SMUGGLED}`],
  ["two Hosts", `GET /first HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n${SMUGGLED}`],
  ["a Host hidden by a space", `GET /first HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n${SMUGGLED}`],
  ["a Host with a list", `GET /first HTTP/1.1\r\nHost: a, b\r\n\r\n${SMUGGLED}`],
  ...disguises.flatMap((line): [string, string][] => [
    [`${JSON.stringify(line)} beside CL`, post(`${lengthOf(hidden)}${line}\r\n`, hidden)],
    [`${JSON.stringify(line)} alone`, post(`${line}\r\n`, hidden)],
  ]),
];

describe("no way is known to hide a request inside another", () => {
  test.each(corpus)("%s is refused, and nothing behind it is read", (_, text) => {
    const bytes = Buffer.from(text, "latin1");
    const { messages, violation } = readRequests([bytes]);
    expect(violation?.code).toMatch(/^E_HTTP_/);
    expect([400, 501]).toContain(violation?.status);
    expect(messages.filter(({ isComplete }) => isComplete)).toEqual([]);
    expect(JSON.stringify(messages.map(({ head }) => head.target))).not.toContain("smuggled");
    expect(readRequests(everyByte(bytes))).toEqual({ messages, violation });
  });

  test("the same framings without the trick are two requests", () => {
    for (const first of [post(lengthOf("x"), "x"), post("Transfer-Encoding: chunked\r\n", "1;a\r\nx\r\n0\r\n\r\n")]) {
      const { messages, violation } = readRequests([Buffer.from(first + SMUGGLED)]);
      expect(violation).toBeUndefined();
      expect(messages.map(({ head }) => head.target)).toEqual(["/first", "/smuggled"]);
    }
  });
});

interface Opinion {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly host: string | undefined;
  readonly body: string;
}

/** What node:http finds in a stream of requests. */
async function nodeOpinion(stream: Buffer): Promise<Opinion[]> {
  const seen: Opinion[] = [];
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      seen.push({
        method: request.method,
        url: request.url,
        host: request.headers.host,
        body: Buffer.concat(pieces).toString("latin1"),
      });
      response.end();
    });
  });
  const failed = new Promise<never>((_, reject) => server.on("clientError", reject));
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  server.emit("connection", socket);
  socket.push(stream);
  socket.push(null);
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  await Promise.race([closed, failed]);
  return seen;
}

function forward({ head, body, trailers }: SeenMessage<RequestHead>): Buffer {
  const out = new OutputBuffer();
  const { method, target, fields, framing } = head;
  writeRequestHead(out, { method, target, fields: fields.raw, framing, upgrade: undefined });
  if (framing.kind === "chunked") {
    writeChunk(out, Buffer.from(body, "latin1"));
    writeLastChunk(out, trailers === undefined ? undefined : { raw: [...trailers], lower: [] });
  } else out.bytes(Buffer.from(body, "latin1"));
  return out.take();
}

describe("another program finds in what we forward the requests that we judged", () => {
  const fragment = fc.constantFrom(
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X-A: \t b \r\n",
    "Connection: close, x-a\r\n",
    "TE: trailers, gzip\r\n",
    "Keep-Alive: 5\r\n",
    "Expect: 100-continue\r\n",
    "Trailer: x\r\n",
    "Accept:\r\n",
    "Upgrade: h2c\r\n",
    "X-A: \xe9\r\n",
    "Proxy-Connection: close\r\n",
  );
  const body = fc.constantFrom(
    "",
    "(llo)",
    "5;x\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\r\nHost: z\r\n\r\n",
    "0\r\n\r\n",
  );
  const message = fc
    .tuple(
      fc.constantFrom("GET", "POST", "DELETE"),
      fc.constantFrom("/", "/a?b", "http://b/x"),
      fc.array(fragment, { maxLength: 4 }),
      body,
    )
    .map(
      ([method, target, fields, text]) => `${method} ${target} HTTP/1.1\r\nHost: a\r\n${fields.join("")}\r\n${text}`,
    );

  test("node:http agrees on method, target, Host and body of each", async () => {
    let agreed = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 4 }), async (messages) => {
        const stream = Buffer.from(messages.join(""), "latin1");
        const all = readRequests([stream]).messages.filter(({ isComplete }) => isComplete);
        // node:http knows the registered methods only; a length that reaches into the next request leaves others (`E /`)
        const unknown = all.findIndex(({ head }) => !METHODS.includes(head.method));
        const complete = unknown === -1 ? all : all.slice(0, unknown);
        if (complete.length === 0) return;
        const seen = await nodeOpinion(Buffer.concat(complete.map(forward)));
        expect(seen).toEqual(
          complete.map(({ head, body: text }) => ({
            method: head.method,
            url: head.target,
            host: head.authority,
            body: text,
          })),
        );
        agreed += seen.length;
      }),
      { numRuns: 300 },
    );
    expect(agreed).toBeGreaterThan(100);
  });
});
