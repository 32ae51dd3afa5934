// HTTP/2 requests that would be smuggled into HTTP/1.1 by whoever translates them carelessly ("downgrade").
import fc from "fast-check";
import { FLAG, FRAME, frame, type HeaderField, headers } from "../support/http2-frames.ts";

/** Frames of one connection: a mutated request on stream 1, a sound one on stream 3. */
export interface Http2Mutant {
  readonly number: number;
  readonly mutations: readonly string[];
  readonly bytes: Buffer;
}

interface Parts {
  readonly fields: readonly HeaderField[];
  readonly body: string | undefined;
  /** Fields behind the body. */
  readonly trailers: HeaderField[] | undefined;
  /** Bytes of padding of each DATA frame. */
  readonly padding: number;
}

interface Mutation {
  readonly name: string;
  readonly weight?: number;
  readonly apply: (parts: Parts) => Partial<Parts>;
}

const hidden = (number: number): string => `GET /smuggled-${number} HTTP/1.1\r\nHost: evil.test\r\n\r\n`;

function add(name: string, value: string, weight = 1): Mutation {
  return {
    name: `${name}: ${JSON.stringify(value.slice(0, 40))}`,
    weight,
    apply: (parts) => ({ fields: [...parts.fields, [name, value]] }),
  };
}

function set(name: string, value: (old: string) => string, says: string, weight = 1): Mutation {
  return {
    name: `${name} ${says}`,
    weight,
    apply: ({ fields }) => ({
      fields: fields.map(([known, old]): HeaderField => [known, known === name ? value(old) : old]),
    }),
  };
}

function change(name: string, apply: (parts: Parts) => Partial<Parts>, weight = 1): Mutation {
  return { name, apply, weight };
}

const splitting = "\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n";

const all: readonly Mutation[] = [
  change("nothing", () => ({}), 10),
  ...["chunked", "identity", "gzip"].map((value) => add("transfer-encoding", value)),
  ...["0", "5", "05", "+5", "5, 5", "", "99999999999999999999", "0x5"].map((value) => add("content-length", value)),
  set("content-length", (old) => String(Number(old) + 5), "too large"),
  set("content-length", (old) => String(Math.max(0, Number(old) - 5)), "too small"),
  set("content-length", () => "0", "0"),
  ...["close", "keep-alive", "content-length", "transfer-encoding"].map((value) => add("connection", value)),
  add("keep-alive", "timeout=5"),
  add("proxy-connection", "keep-alive"),
  add("upgrade", "h2c"),
  add("te", "trailers", 4),
  add("te", "chunked"),
  ...["app.test", "other.test", "app.test:80", "", "app.test, other.test"].map((value) => add("host", value, 2)),
  add(":authority", "other.test"),
  add(":path", "/other"),
  add(":method", "GET"),
  add(":scheme", "http"),
  add(":status", "200"),
  add(":unknown", "x"),
  set(":authority", () => "other.test", "other.test", 3),
  set(":authority", () => "user@app.test", "with a user"),
  set(":authority", () => "app.test\r\nX: y", "with a CRLF"),
  set(":authority", () => "", "empty"),
  set(":authority", () => "app.test/x", "with a path"),
  change("no :authority", (parts) => ({ fields: parts.fields.filter(([name]) => name !== ":authority") })),
  change("no :path", (parts) => ({ fields: parts.fields.filter(([name]) => name !== ":path") })),
  ...["?a=b", ";x", "//x", "?", "?a=/smuggled"].map((tail) => set(":path", (old) => old + tail, `with ${tail}`, 4)),
  ...[
    " HTTP/1.1\r\nHost: evil.test\r\n\r\nGET /smuggled",
    " x",
    "\tx",
    "\r\nX: y",
    "\n",
    "\x00",
    "#x",
    "\x80",
    "/../x",
    "/%2e%2e/x",
    "\\x",
  ].map((tail) => set(":path", (old) => old + tail, `with ${JSON.stringify(tail)}`)),
  set(":path", (old) => `http://other.test${old}`, "in absolute form"),
  set(":path", (old) => old.slice(1), "without its slash"),
  set(":path", () => "*", "a star"),
  set(":path", () => "", "empty"),
  ...["GET", "PUT", "HEAD", "DELETE", "OPTIONS"].map((method) => set(":method", () => method, method, 4)),
  ...["GET /smuggled HTTP/1.1\r\n\r\n", "get", "G ET", "", "CONNECT", "PRI"].map((method) =>
    set(":method", () => method, JSON.stringify(method)),
  ),
  ...["https", "HTTP", "gopher", "http\r\nX: y", ""].map((scheme) =>
    set(":scheme", () => scheme, JSON.stringify(scheme)),
  ),
  add("x-split", `a${splitting}`),
  add(`x-split: a${splitting}b`, "c"),
  add("x-lf", "a\ntransfer-encoding: chunked"),
  add("x-cr", "a\rtransfer-encoding: chunked"),
  add("x-nul", "a\x00b"),
  add("x-space", " a "),
  add("X-Capital", "a"),
  add("Transfer-Encoding", "chunked"),
  add("transfer-encoding ", "chunked"),
  add("transfer_encoding", "chunked"),
  add("transfer-encoding: chunked\r\nx", "y"),
  add(" x", "y"),
  add("x:y", "z"),
  add("", "x"),
  add("x\x01", "y"),
  ...(
    [
      ["accept", "*/*"],
      ["x-empty", ""],
      ["x-bytes", "\x80\xff"],
      ["cookie", "a=b"],
      ["cookie", "c=d; e=f"],
      ["content-type", "text/plain"],
      ["x-long", "a".repeat(6_000)],
      ["x-quoted", '"a"'],
      ["expect", "100-continue"],
    ] as const
  ).map(([name, value]) => add(name, value, 5)),
  change("a pseudo field behind the others", (parts) => ({
    fields: [...parts.fields.slice(1), ...parts.fields.slice(0, 1)],
  })),
  change("padded DATA", () => ({ padding: 7 }), 4),
  change("no body", () => ({ body: undefined }), 4),
  change("an empty body", () => ({ body: "" }), 3),
  change("trailers", () => ({ trailers: [["x-trailer", "a"]] }), 5),
  ...(
    [
      ["transfer-encoding", "chunked"],
      ["content-length", "5"],
      ["x", "a\r\n\r\nGET /smuggled HTTP/1.1"],
      [":path", "/x"],
      ["host", "evil.test"],
    ] as const
  ).map(([name, value]) => change(`a trailer ${name}`, () => ({ trailers: [[name, value]] }))),
];

const mutation = fc.oneof(...all.map((one) => ({ weight: one.weight ?? 1, arbitrary: fc.constant(one) })));

export const http2Mutant: fc.Arbitrary<(number: number) => Http2Mutant> = fc
  .record({
    announced: fc.boolean(),
    mutations: fc.array(mutation, { minLength: 1, maxLength: 3 }),
    cut: fc.integer({ min: 1, max: 60 }),
  })
  .map(({ announced, mutations, cut }) => (number) => {
    const body = hidden(number);
    let parts: Parts = {
      fields: [
        [":method", "POST"],
        [":scheme", "http"],
        [":authority", "app.test"],
        [":path", `/r${number}-1`],
        ...(announced ? [["content-length", String(body.length)] as const] : []),
      ],
      body,
      trailers: undefined,
      padding: 0,
    };
    for (const { apply } of mutations) parts = { ...parts, ...apply(parts) };
    return {
      number,
      mutations: mutations.map(({ name }) => name),
      bytes: Buffer.concat([...request(parts, cut), sound(number)]),
    };
  });

function request({ fields, body, trailers, padding }: Parts, cut: number): Buffer[] {
  if (body === undefined && trailers === undefined) return [headers(1, fields)];
  const text = body ?? "";
  const pieces = [text.slice(0, cut), text.slice(cut)].filter((piece) => piece !== "");
  const last = trailers === undefined ? FLAG.END_STREAM : 0;
  const data = (pieces.length === 0 ? [""] : pieces).map((piece, at, list) =>
    dataFrame(piece, padding, at === list.length - 1 ? last : 0),
  );
  return [headers(1, fields, FLAG.END_HEADERS), ...data, ...(trailers === undefined ? [] : [headers(1, trailers)])];
}

function dataFrame(piece: string, padding: number, flags: number): Buffer {
  const bytes = Buffer.from(piece, "latin1");
  if (padding === 0) return frame(FRAME.DATA, flags, 1, bytes);
  const payload = Buffer.concat([Buffer.from([padding]), bytes, Buffer.alloc(padding)]);
  return frame(FRAME.DATA, flags | FLAG.PADDED, 1, payload);
}

function sound(number: number): Buffer {
  return headers(3, [
    [":method", "GET"],
    [":scheme", "http"],
    [":authority", "app.test"],
    [":path", `/r${number}-2`],
  ]);
}
