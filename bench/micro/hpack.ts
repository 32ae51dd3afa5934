// What HPACK and the heads of HTTP/2 cost per message: encode, decode, and reading the head. Prints nanoseconds; takes under 10 s.
// Run it with the project's Node: node_modules/.bin/node bench/micro/hpack.ts
import type { Fields } from "../../src/proxy/http1/http1-events.ts";
import { OutputBuffer } from "../../src/proxy/http1/output-buffer.ts";
import { HpackDecoder } from "../../src/proxy/http2/hpack-decoder.ts";
import { HpackEncoder } from "../../src/proxy/http2/hpack-encoder.ts";
import { readRequest } from "../../src/proxy/http2/read-request.ts";
import { readResponse, readTrailers } from "../../src/proxy/http2/read-response.ts";
import { literal, string } from "../../test/support/hpack-literals.ts";

const ROUND_MS = 80;
const ROUNDS = 5;
const LIMITS = { headBytes: 61_440, headFields: 100, requestLine: 16_384 };
const HPACK = { tableBytes: 4096, listBytes: 61_440, fields: 100 };

type Pairs = readonly (readonly [name: string, value: string])[];

/** What an app sends the same way each time. */
const SAME: Pairs = [
  ["user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"],
  ["accept", "application/json"],
  ["accept-encoding", "gzip, deflate, br"],
  ["x-tenant", "acme"],
];
const SECRET: Pairs = [["authorization", "Bearer abcdefghijklmnopqrstuvwxyz0123456789"]];
const PSEUDO: Pairs = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "orders.shop.svc:8080"],
  [":path", "/api/v1/orders"],
];
const RESPONSE: Pairs = [
  ["server", "app"],
  ["content-type", "application/json; charset=utf-8"],
  ["vary", "Accept-Encoding"],
  ["content-length", "200"],
  ["date", "Mon, 01 Jan 2030 00:00:00 GMT"],
];
const TRAILERS: Pairs = [
  ["grpc-status", "0"],
  ["grpc-message", ""],
];

/** The best of a few rounds: what the code costs when nothing else runs. */
function measure(name: string, once: () => void): void {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    let calls = 0;
    const start = performance.now();
    let elapsed = 0;
    while (elapsed < ROUND_MS) {
      for (let i = 0; i < 500; i++) once();
      calls += 500;
      elapsed = performance.now() - start;
    }
    best = Math.min(best, (elapsed * 1e6) / calls);
  }
  console.log(`${name.padEnd(64)} ${best.toFixed(0).padStart(6)} ns`);
}

function fieldsOf(pairs: Pairs): Fields {
  return { raw: pairs.flat(), lower: pairs.map(([name]) => name) };
}

/** The fields as an HTTP/1.1 head has them, and where they begin in it. */
function textOf(pairs: Pairs): string {
  return pairs.map(([name, value]) => `${name}: ${value}\r\n`).join("");
}

/** A text that is made of bytes, as one that was received. */
function received(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}

const changing: string[] = Array.from({ length: 997 }, (_, at) =>
  received(`6f1f6d2e-0c1b-4c61-9d55-${String(at).padStart(12, "0")}`),
);
const parents: string[] = changing.map((id) =>
  received(`00-4bf92f3577b34da6a3ce929d${id.slice(-8)}-00f067aa0ba902b7-01`),
);
const paths: string[] = changing.map((id) => received(`/api/v1/orders/${id.slice(-8)}?expand=lines`));
let turn = 0;

function encode(encoder: HpackEncoder, out: OutputBuffer, pairs: Pairs): void {
  for (const [name, value] of pairs) encoder.field(out, name, value);
}

function blockOf(encoder: HpackEncoder, pairs: Pairs): Buffer {
  const out = new OutputBuffer();
  encoder.begin(out);
  encode(encoder, out, pairs);
  return Buffer.from(out.take());
}

function encodeBenches(): void {
  const out = new OutputBuffer();
  const encoder = new HpackEncoder();
  const same = fieldsOf(SAME);
  const secretly = fieldsOf([...SAME, ...SECRET]);
  const text = `GET / HTTP/1.1\r\n${textOf(SAME)}${textOf(SECRET)}`;
  const sameEnd = 16 + textOf(SAME).length;
  const pathOf = (): string => paths[turn] as string;
  const start = (path: string): void => {
    turn = (turn + 1) % changing.length;
    encoder.begin(out);
    encoder.field(out, ":method", "GET");
    encoder.field(out, ":scheme", "https");
    encoder.field(out, ":authority", "orders.shop.svc:8080");
    encoder.field(out, ":path", path);
  };
  const finish = (): void => {
    encoder.field(out, "x-request-id", changing[turn] as string);
    encoder.field(out, "traceparent", parents[turn] as string);
    if (out.length === 0) throw new Error("nothing was encoded");
    out.truncate(0);
  };
  measure("encode a request: a run of 4 fields, 2 changing, same path", () => {
    start("/api/v1/orders");
    encoder.run(out, text.slice(16, sameEnd), same, 0, 4);
    finish();
  });
  measure("encode a request: a run of 4 fields, 2 changing, other paths", () => {
    start(pathOf());
    encoder.run(out, text.slice(16, sameEnd), same, 0, 4);
    finish();
  });
  measure("encode a request: a run of 5 fields, one secret, 2 changing", () => {
    start("/api/v1/orders");
    encoder.run(out, text.slice(16), secretly, 0, 5);
    finish();
  });
  measure("encode a request: field by field", () => {
    start("/api/v1/orders");
    for (let field = 0; field < 4; field++) {
      encoder.field(out, same.lower[field] as string, same.raw[2 * field + 1] as string);
    }
    finish();
  });
  const response = fieldsOf(RESPONSE);
  const responseText = `HTTP/1.1 200 OK\r\n${textOf(RESPONSE)}`;
  const answers = new HpackEncoder();
  measure("encode a response: a run of 5 fields", () => {
    answers.begin(out);
    answers.status(out, 200);
    answers.run(out, responseText.slice(17), response, 0, 5);
    out.truncate(0);
  });
  measure("encode a response: field by field", () => {
    answers.begin(out);
    answers.status(out, 200);
    encode(answers, out, RESPONSE);
    out.truncate(0);
  });
  for (const size of [8, 16, 32, 64, 128, 256]) {
    const value = received("v".repeat(size));
    measure(`encode one literal of ${size} bytes`, () => {
      answers.field(out, "x-request-id", value);
      out.truncate(0);
    });
  }
}

/** Blocks as they come once the tables are settled. */
function settled(pairs: (at: number) => Pairs): { decoder: HpackDecoder; blocks: Buffer[] } {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder(HPACK);
  const blocks: Buffer[] = [];
  for (let at = 0; at < changing.length; at++) {
    const block = blockOf(encoder, pairs(at));
    if (decoder.decode(block, 0, block.length) !== undefined) throw new Error("a block was refused");
    if (at >= 8) blocks.push(block);
  }
  return { decoder, blocks };
}

function decodeBenches(): void {
  const ids = (at: number): Pairs => [
    ["x-request-id", changing[at] as string],
    ["traceparent", parents[at] as string],
  ];
  const kinds: readonly (readonly [string, (at: number) => Pairs])[] = [
    ["8 fields, all indexed", () => [...PSEUDO, ...SAME]],
    ["10 fields, 2 changing", (at) => [...PSEUDO, ...SAME, ...ids(at)]],
    [
      "10 fields, 3 changing (path)",
      (at) => [...PSEUDO.slice(0, 3), [":path", paths[at] as string], ...SAME, ...ids(at)],
    ],
    ["11 fields, 2 changing, a secret", (at) => [...PSEUDO, ...SAME, ...SECRET, ...ids(at)]],
  ];
  for (const [name, pairs] of kinds) {
    const { decoder, blocks } = settled(pairs);
    const next = (): Buffer => {
      turn = (turn + 1) % blocks.length;
      return blocks[turn] as Buffer;
    };
    measure(`decode a request: ${name}`, () => {
      const block = next();
      if (decoder.decode(block, 0, block.length) !== undefined) throw new Error("a block was refused");
    });
    measure(`decode a request and read its head: ${name}`, () => {
      const block = next();
      decoder.decode(block, 0, block.length);
      if ("code" in readRequest(decoder.fields, decoder.count, true, LIMITS)) throw new Error("a head was refused");
    });
  }
  const answers = settled(() => [[":status", "200"], ...RESPONSE]);
  measure("decode a response and read its head: 6 fields", () => {
    const block = answers.blocks[0] as Buffer;
    answers.decoder.decode(block, 0, block.length);
    const { fields, count } = answers.decoder;
    if ("code" in readResponse(fields, count, false, "GET")) throw new Error("a head was refused");
  });
  const trailers = settled(() => TRAILERS);
  measure("decode and read trailers: grpc-status, grpc-message", () => {
    const block = trailers.blocks[0] as Buffer;
    trailers.decoder.decode(block, 0, block.length);
    if (readTrailers(trailers.decoder.fields, trailers.decoder.count) === undefined) throw new Error("no trailers");
  });
}

/** One value in both codings, and names that have to be looked up. */
function stringBenches(): void {
  const decoder = new HpackDecoder(HPACK);
  for (const [name, value] of [
    ["an id", changing[0] as string],
    ["a traceparent", parents[0] as string],
    ["a date", "Mon, 01 Jan 2030 00:00:00 GMT"],
    ["a token", `Bearer ${"abcdefghijklmnopqrstuvwxyz0123456789".repeat(8)}`],
  ] as const) {
    for (const coded of [false, true]) {
      const block = Buffer.concat([Buffer.of(0x0f, 0x0e), string(value, coded)]);
      measure(`decode ${name} (${value.length} B), ${coded ? `Huffman (${block.length - 2} B)` : "plain"}`, () => {
        decoder.decode(block, 0, block.length);
      });
    }
  }
  for (const coded of [false, true]) {
    const block = literal(0x00, "x-forwarded-proto", "https", coded);
    measure(`decode a literal name, ${coded ? "Huffman" : "plain"}`, () => {
      decoder.decode(block, 0, block.length);
    });
  }
}

encodeBenches();
decodeBenches();
stringBenches();
