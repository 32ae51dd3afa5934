// HTTP/1.1 requests whose framing is mutated: what a proxy and an origin might read in two ways, and what is odd but right,
// so that enough of it reaches an origin.
import fc from "fast-check";

/** Bytes of one connection: a mutated request with a request hidden in its body, and a sound one behind it. */
export interface Http1Mutant {
  readonly number: number;
  /** What was done to it, for people. */
  readonly mutations: readonly string[];
  readonly bytes: Buffer;
  /** Lengths of the writes; the rest goes in one. */
  readonly splits: readonly number[];
}

interface Parts {
  readonly before: string;
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly lines: readonly string[];
  readonly eol: string;
  readonly body: string;
}

interface Mutation {
  readonly name: string;
  /** How often beside the others; right ones often. */
  readonly weight?: number;
  readonly apply: (parts: Parts) => Partial<Parts>;
}

const hidden = (number: number): string => `GET /smuggled-${number} HTTP/1.1\r\nHost: evil.test\r\n\r\n`;
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;

/** One with a length, one in chunks, one without a body. */
const kinds = ["length", "chunked", "none"] as const;

function baseParts(number: number, kind: (typeof kinds)[number]): Parts {
  const body = hidden(number);
  const lines = ["Host: app.test", "User-Agent: mutant"];
  if (kind === "length") lines.push(`Content-Length: ${body.length}`);
  if (kind === "chunked") lines.push("Transfer-Encoding: chunked");
  return {
    before: "",
    method: kind === "none" ? "GET" : "POST",
    target: `/r${number}-1`,
    version: "HTTP/1.1",
    lines,
    eol: "\r\n",
    body: kind === "length" ? body : kind === "chunked" ? `${chunk(body)}0\r\n\r\n` : "",
  };
}

function addLine(name: string, line: string, weight = 1): Mutation {
  return { name, weight, apply: (parts) => ({ lines: [...parts.lines, line] }) };
}

function changeLines(name: string, change: (line: string) => string, weight = 1): Mutation {
  return {
    name,
    weight,
    apply: ({ lines: all }) => ({ lines: all.map(change) }),
  };
}

function changeBody(name: string, change: (body: string) => string, weight = 1): Mutation {
  return {
    name,
    weight,
    apply: ({ body }) => ({ body: change(body) }),
  };
}

function change(name: string, apply: (parts: Parts) => Partial<Parts>, weight = 1): Mutation {
  return { name, apply, weight };
}

const lengthValues = [
  "0",
  "5",
  "+5",
  "-5",
  "05",
  "0x5",
  "5 5",
  "5,5",
  "5, 5",
  "5;",
  "5.0",
  "1e1",
  "",
  " ",
  "\t5",
  "5\t",
  "９",
  "99999999999999999999",
];
const codingValues = [
  "chunked",
  "Chunked",
  "CHUNKED",
  "chunked ",
  "\tchunked",
  "chunked,",
  ",chunked",
  "chunked, identity",
  "identity, chunked",
  "identity",
  "gzip, chunked",
  "chunked, chunked",
  "chunked;q=1",
  "\x0bchunked",
  "chunked\x00",
  "xchunked",
  '"chunked"',
  "",
];

const framing: readonly Mutation[] = [
  ...lengthValues.map((value) =>
    addLine(`another Content-Length ${JSON.stringify(value)}`, `Content-Length: ${value}`),
  ),
  ...lengthValues.map((value) =>
    changeLines(`Content-Length becomes ${JSON.stringify(value)}`, (line) =>
      line.replace(/^(Content-Length:).*/, `$1${value}`),
    ),
  ),
  ...codingValues.map((value) =>
    addLine(`another Transfer-Encoding ${JSON.stringify(value)}`, `Transfer-Encoding: ${value}`),
  ),
  ...codingValues.map((value) =>
    changeLines(`Transfer-Encoding becomes ${JSON.stringify(value)}`, (line) =>
      line.replace(/^(Transfer-Encoding:).*/, `$1 ${value}`),
    ),
  ),
  ...[
    "Transfer-Encoding : chunked",
    "Transfer_Encoding: chunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Transfer-Encoding\x00: chunked",
    "Transfer-Encoding\t: chunked",
    ":chunked",
    "Transfer-Encoding",
    "Content-Length : 5",
    "Content_Length: 5",
    " Content-Length: 5",
    "X: y\nContent-Length: 5",
    "Content-Length: 5\rX: y",
    "Content-Length\x01: 5",
    "Content-Length:\r\n 5",
  ].map((line) => addLine(`a line ${JSON.stringify(line)}`, line)),
  changeLines("LF alone in the middle of the lines", (line) => `${line}\nX-A: b`),
  change("LF alone ends lines", () => ({ eol: "\n" })),
  change("CR alone ends lines", () => ({ eol: "\r" })),
  change("CR CR LF ends lines", () => ({ eol: "\r\r\n" })),
];

const chunking: readonly Mutation[] = [
  changeBody(
    "chunk size in capitals, with zeros in front",
    (body) => body.replace(/^[0-9a-f]+/, (size) => `000${size.toUpperCase()}`),
    6,
  ),
  changeBody("chunk extension", (body) => body.replace(/^([0-9a-f]+)\r\n/, "$1;a=b;c\r\n"), 6),
  changeBody("quoted chunk extension that ends a line", (body) => body.replace(/^([0-9a-f]+)\r\n/, '$1;a="\r\n"\r\n')),
  changeBody("chunk extension behind a LF", (body) => body.replace(/^([0-9a-f]+)\r\n/, "$1;a\nb\r\n")),
  ...["0x", "+", "-", " ", "_"].map((sign) =>
    changeBody(`chunk size with ${sign} in front`, (body) => body.replace(/^/, sign)),
  ),
  ...[" ", "\t", "h", "\x00", "_0"].map((tail) =>
    changeBody(`chunk size with ${JSON.stringify(tail)} behind`, (body) => body.replace(/^([0-9a-f]+)/, `$1${tail}`)),
  ),
  changeBody("chunk size beyond 2^64", (body) => body.replace(/^([0-9a-f]+)/, "10000000000000000$1")),
  changeBody("chunk size beyond 2^32", (body) => body.replace(/^([0-9a-f]+)/, "100000000$1")),
  changeBody("LF alone behind a chunk size", (body) => body.replace("\r\n", "\n")),
  changeBody("CR alone behind a chunk size", (body) => body.replace("\r\n", "\r")),
  changeBody("no CRLF behind a chunk", (body) => body.replace("\r\n0\r\n\r\n", "0\r\n\r\n")),
  changeBody("two bytes more behind a chunk", (body) => body.replace("\r\n0\r\n", "XX0\r\n")),
  changeBody("a chunk shorter than it says", (body) =>
    body.replace(/^[0-9a-f]+/, (size) => (Number.parseInt(size, 16) + 3).toString(16)),
  ),
  changeBody("a chunk longer than it says", (body) =>
    body.replace(/^[0-9a-f]+/, (size) => Math.max(1, Number.parseInt(size, 16) - 3).toString(16)),
  ),
  changeBody("last chunk of several zeros", (body) => body.replace("\r\n0\r\n\r\n", "\r\n000\r\n\r\n"), 4),
  changeBody("trailers", (body) => body.replace("0\r\n\r\n", "0\r\nX-Trailer: a\r\nX-Other: b\r\n\r\n"), 6),
  ...["Content-Length: 5", "Transfer-Encoding: chunked", "Host: evil.test", "X : y", " folded", "X: y\nZ: z"].map(
    (line) =>
      changeBody(`a trailer ${JSON.stringify(line)}`, (body) => body.replace("0\r\n\r\n", `0\r\n${line}\r\n\r\n`)),
  ),
  changeBody("no last chunk", (body) => body.replace("0\r\n\r\n", "")),
  changeBody("a last chunk with an extension", (body) => body.replace("0\r\n\r\n", "0;a=b\r\n\r\n"), 3),
];

const lines: readonly Mutation[] = [
  ...[
    "app.test",
    "APP.test",
    "app.test:80",
    "other.test",
    "app.test, other.test",
    "user@app.test",
    "app.test/x",
    "",
    "app test",
    "app.test\t",
  ].map((value) => addLine(`another Host ${JSON.stringify(value)}`, `Host: ${value}`)),
  ...["other.test", "app.test:8080", "[::1]", "user@app.test", "app.test/x", "", "app.test#", "ÄÖ"].map((value) =>
    changeLines(`Host becomes ${JSON.stringify(value)}`, (line) => line.replace(/^Host:.*/, `Host: ${value}`), 2),
  ),
  change("no Host", (parts) => ({ lines: parts.lines.filter((line) => !line.startsWith("Host:")) })),
  ...[
    "close",
    "keep-alive",
    "Content-Length",
    "Transfer-Encoding, close",
    "Host",
    "X-Secret",
    "upgrade",
    "close, close",
  ].map((value) => addLine(`Connection ${value}`, `Connection: ${value}`, 3)),
  ...["100-continue", "101-continue"].map((value) => addLine(`Expect ${value}`, `Expect: ${value}`)),
  change(
    "Upgrade to h2c",
    (parts) => ({
      lines: [
        ...parts.lines,
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
      ],
    }),
    2,
  ),
  change("Upgrade to websocket with a body", (parts) => ({
    lines: [
      ...parts.lines,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ],
  })),
  ...[
    "X-Empty:",
    "X-Spaces:   a   b   ",
    "x-lower: a",
    "X-Tab:\ta\t",
    "X-Bytes: \x80\xff",
    `X-Long: ${"a".repeat(8_000)}`,
    "X-Twice: 1\r\nX-Twice: 2",
    "Cookie: a=b; c=d",
    'X-Quote: "a\\"b"',
    "Accept: */*",
    "Content-Type: text/plain",
    "TE: trailers",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "X-HTTP-Method-Override: DELETE",
  ].map((line) => addLine(`an odd but right line ${JSON.stringify(line.slice(0, 30))}`, line, 5)),
  ...["X y: z", "X\x01: y", "X: y\x00z", "X: \x7f", "(x): y", "X", "X:y\x0bz", "\x85X: y"].map((line) =>
    addLine(`a wrong line ${JSON.stringify(line)}`, line),
  ),
];

const requestLine: readonly Mutation[] = [
  ...["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"].map((method) =>
    change(`method ${method}`, () => ({ method: method }), 3),
  ),
  ...["get", "GE T", "GET\t", "G\x00T", "", "CONNECT", "TRACE", "(GET)", "PRI"].map((method) =>
    change(`method ${JSON.stringify(method)}`, () => ({ method: method })),
  ),
  ...[
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/1.01",
    "HTTP/01.1",
    "http/1.1",
    "HTTP/2.0",
    "HTTP/0.9",
    "HTTP/1.1 ",
    "HTTP/1.1\t",
    "HTTP /1.1",
    "HTTP/1,1",
    "",
    "HTTP/1.1 HTTP/1.1",
  ].map((version) => change(`version ${JSON.stringify(version)}`, () => ({ version: version }))),
  ...["?a=b", "?a=/smuggled", ";x=y", "//x", "/./x", "?", "?a%20b", "?a=b&c=d"].map((tail) =>
    change(`target with ${tail}`, (parts) => ({ target: parts.target + tail }), 3),
  ),
  ...["#x", "/../x", "/%2e%2e/x", "/%2f", "/%00", "\\x", " x", "\tx", "\x80", "/%zz", "?a b", "/%C0%AE"].map((tail) =>
    change(`target with ${JSON.stringify(tail)}`, (parts) => ({ target: parts.target + tail })),
  ),
  ...[
    "http://app.test",
    "http://other.test",
    "http://user@app.test",
    "https://app.test",
    "HTTP://app.test",
    "//other.test",
    "app.test",
    "*",
  ].map((head) => change(`target behind ${head}`, (parts) => ({ target: head + parts.target }))),
  ...["\r\n", "\r\n\r\n", "\n", "\r", " ", "\x00", "\x16\x03"].map((before) =>
    change(`${JSON.stringify(before)} before the request`, () => ({ before: before })),
  ),
];

const whole: readonly Mutation[] = [
  change("nothing", () => ({}), 12),
  change("a GET with a body", () => ({ method: "GET" }), 4),
  change("a body longer than announced", (parts) => ({ body: `${parts.body}XXXX` })),
  change("a body shorter than announced", (parts) => ({ body: parts.body.slice(0, -7) })),
  change("a body with no announcement", (parts) => ({ body: parts.body || "hello" })),
];

const all = [...framing, ...chunking, ...lines, ...requestLine, ...whole];
const mutation = fc.oneof(...all.map((one) => ({ weight: one.weight ?? 1, arbitrary: fc.constant(one) })));

/** Flips, removes or adds one byte somewhere in the head. */
const noise = fc.record({ at: fc.nat(200), byte: fc.nat(255), how: fc.constantFrom("flip", "remove", "add") });
const rarely = fc.oneof({ weight: 7, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: noise });

export const http1Mutant: fc.Arbitrary<(number: number) => Http1Mutant> = fc
  .record({
    kind: fc.constantFrom(...kinds),
    mutations: fc.array(mutation, { minLength: 1, maxLength: 3 }),
    noise: rarely,
    splits: fc.array(fc.integer({ min: 1, max: 120 }), { maxLength: 3 }),
  })
  .map(({ kind, mutations, noise: disturbed, splits }) => (number) => {
    let parts = baseParts(number, kind);
    for (const { apply } of mutations) parts = { ...parts, ...apply(parts) };
    const head = [`${parts.method} ${parts.target} ${parts.version}`, ...parts.lines, "", ""].join(parts.eol);
    let text = parts.before + head + parts.body;
    if (disturbed !== null) text = disturb(text, disturbed);
    const after = `GET /r${number}-2 HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n`;
    return {
      number,
      mutations: [
        kind,
        ...mutations.map(({ name }) => name),
        ...(disturbed === null ? [] : [`${disturbed.how} ${disturbed.at}`]),
      ],
      bytes: Buffer.from(text + after, "latin1"),
      splits,
    };
  });

function disturb(text: string, { at, byte, how }: { at: number; byte: number; how: string }): string {
  const place = at % text.length;
  const other = String.fromCharCode(byte);
  const kept = how === "add" ? place : place + 1;
  return text.slice(0, place) + (how === "remove" ? "" : other) + text.slice(kept);
}
