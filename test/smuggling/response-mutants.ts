// HTTP/1.1 responses whose framing is mutated, with a second response hidden in their body.
import fc from "fast-check";

export interface ResponseMutant {
  readonly mutations: readonly string[];
  readonly bytes: Buffer;
  /** Whether the app ends the connection behind it. */
  readonly ends: boolean;
}

interface Parts {
  readonly before: string;
  readonly statusLine: string;
  readonly lines: readonly string[];
  readonly eol: string;
  readonly body: string;
}

interface Mutation {
  readonly name: string;
  readonly weight: number;
  readonly apply: (parts: Parts) => Partial<Parts>;
}

const hidden = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const kinds = ["length", "chunked", "close"] as const;

function change(name: string, apply: Mutation["apply"], weight = 1): Mutation {
  return { name, apply, weight };
}
const addLine = (line: string, weight = 1): Mutation =>
  change(`a line ${JSON.stringify(line.slice(0, 40))}`, (parts) => ({ lines: [...parts.lines, line] }), weight);
const statusLine = (line: string, weight = 1): Mutation => change(line, () => ({ statusLine: line }), weight);

const all: readonly Mutation[] = [
  change("nothing", () => ({}), 10),
  ...["0", "5", "+5", "5, 5", "05", "", "0x5", "99999999999999999999"].map((value) =>
    addLine(`Content-Length: ${value}`),
  ),
  ...["chunked", "Chunked", "identity", "gzip, chunked", "chunked, identity", "chunked ", "\x0bchunked"].map((value) =>
    addLine(`Transfer-Encoding: ${value}`),
  ),
  ...[
    "Content-Length : 5",
    "Transfer-Encoding : chunked",
    " folded: x",
    "X: y\nContent-Length: 5",
    "X",
    ": y",
    "X\x00: y",
  ].map((line) => addLine(line)),
  ...[
    "X-Right: a",
    "Set-Cookie: a=b",
    "Connection: keep-alive",
    "Server: x",
    "X-Bytes: \x80\xff",
    "Trailer: X-Sum",
  ].map((line) => addLine(line, 4)),
  ...["Connection: close", "Connection: Content-Length", "Upgrade: websocket", "Keep-Alive: timeout=1"].map((line) =>
    addLine(line, 2),
  ),
  ...["HTTP/1.1 201 Created", "HTTP/1.1 404 Not Found", "HTTP/1.1 500 ", "HTTP/1.0 200 OK", "HTTP/1.1 299 Ä"].map(
    (line) => statusLine(line, 3),
  ),
  ...[
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 101 Switching Protocols",
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 103 Early Hints",
    "HTTP/1.1 99 X",
    "HTTP/1.1 1000 X",
    "HTTP/1.1 2OO OK",
    "HTTP/2 200 OK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1 200\tOK",
    "ICY 200 OK",
    "HTTP/1.1 200 O\rK",
    "GET / HTTP/1.1",
  ].map((line) => statusLine(line)),
  ...["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", "\r\n", "smuggled", hidden].map(
    (before) => change(`${JSON.stringify(before.slice(0, 20))} before`, () => ({ before }), 1),
  ),
  change("LF alone ends lines", () => ({ eol: "\n" })),
  change("CR alone ends lines", () => ({ eol: "\r" })),
  change("a body longer than announced", ({ body }) => ({ body: body + hidden }), 3),
  change("a body shorter than announced", ({ body }) => ({ body: body.slice(0, -5) }), 2),
  change("chunk sizes with an extension", ({ body }) => ({ body: body.replace(/^([0-9a-f]+)\r\n/, "$1;a=b\r\n") }), 3),
  change("a chunk size with a sign", ({ body }) => ({ body: body.replace(/^/, "+") })),
  change("a chunk longer than it says", ({ body }) => ({ body: body.replace(/^[0-9a-f]+/, "5") })),
  change("LF alone behind a chunk size", ({ body }) => ({ body: body.replace("\r\n", "\n") })),
  change("trailers", ({ body }) => ({ body: body.replace(/0\r\n\r\n$/, "0\r\nX-Sum: 1\r\n\r\n") }), 3),
  change("a trailer of framing", ({ body }) => ({
    body: body.replace(/0\r\n\r\n$/, "0\r\nContent-Length: 5\r\n\r\n"),
  })),
];

const mutation = fc.oneof(...all.map((one) => ({ weight: one.weight, arbitrary: fc.constant(one) })));

export const responseMutant: fc.Arbitrary<ResponseMutant> = fc
  .record({
    kind: fc.constantFrom(...kinds),
    mutations: fc.array(mutation, { minLength: 1, maxLength: 3 }),
    ends: fc.boolean(),
  })
  .map(({ kind, mutations, ends }) => {
    const framing = {
      length: [`Content-Length: ${hidden.length}`],
      chunked: ["Transfer-Encoding: chunked"],
      close: [],
    }[kind];
    const body = kind === "chunked" ? `${chunk(hidden)}0\r\n\r\n` : hidden;
    let parts: Parts = { before: "", statusLine: "HTTP/1.1 200 OK", lines: framing, eol: "\r\n", body };
    for (const { apply } of mutations) parts = { ...parts, ...apply(parts) };
    const head = [parts.statusLine, ...parts.lines, "", ""].join(parts.eol);
    return {
      mutations: [kind, ...mutations.map(({ name }) => name)],
      bytes: Buffer.from(parts.before + head + parts.body, "latin1"),
      ends: ends || kind === "close",
    };
  });
