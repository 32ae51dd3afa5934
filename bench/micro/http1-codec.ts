// What the HTTP/1.1 codec costs per message head: decode, write, and both with a small body. Prints nanoseconds; takes under 5 s.
// Run it with the project's Node: node_modules/.bin/node bench/micro/http1-codec.ts
import type { Fields, RequestHead, ResponseHead } from "../../src/proxy/http1/http1-events.ts";
import { OutputBuffer } from "../../src/proxy/http1/output-buffer.ts";
import { createRequestDecoder } from "../../src/proxy/http1/request-decoder.ts";
import { createResponseDecoder } from "../../src/proxy/http1/response-decoder.ts";
import { writeChunk, writeLastChunk, writeRequestHead, writeResponseHead } from "../../src/proxy/http1/write-head.ts";

const ROUND_MS = 80;
const ROUNDS = 5;
const LIMITS = { headBytes: 61_440, headFields: 100, requestLine: 16_384 };

const SMALL_REQUEST = "GET /health HTTP/1.1\r\nHost: orders:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
const USUAL_REQUEST =
  "GET /api/v1/orders?id=12345&expand=lines HTTP/1.1\r\nHost: orders.shop.svc:8080\r\n" +
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: application/json\r\n" +
  "Accept-Encoding: gzip, deflate, br\r\nX-Request-Id: 6f1f6d2e-0c1b-4c61-9d55-2a1f3f0f9a11\r\n" +
  "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n" +
  "Authorization: Bearer abcdefghijklmnopqrstuvwxyz0123456789\r\nX-Tenant: acme\r\nConnection: keep-alive\r\n\r\n";
const BODY = "x".repeat(200);
const POST_REQUEST = `POST /api/v1/orders HTTP/1.1\r\nHost: orders.shop.svc:8080\r\nUser-Agent: undici\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;
const USUAL_RESPONSE = `HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2030 00:00:00 GMT\r\nServer: app\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${BODY.length}\r\nETag: "abcdef0123456789"\r\nVary: Accept-Encoding\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n${BODY}`;
const CHUNKED_RESPONSE = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;

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
  console.log(`${name.padEnd(52)} ${best.toFixed(0).padStart(6)} ns`);
}

function requestBench(text: string, cut: number): { decode: () => void; relay: () => void } {
  const out = new OutputBuffer();
  const chunk = Buffer.from(text, "latin1");
  const pieces = cut === 0 ? [chunk] : [chunk.subarray(0, cut), chunk.subarray(cut)];
  let write = false;
  let ended = 0;
  const decoder = createRequestDecoder(LIMITS, {
    onHead(head: RequestHead): void {
      if (!write) return;
      const { method, target, framing, fields } = head;
      writeRequestHead(out, { method, target, fields: fields.raw, framing, upgrade: undefined });
    },
    onData(bytes: Uint8Array): void {
      if (write) out.bytes(bytes);
    },
    onEnd(): void {
      ended++;
    },
  });
  const decode = (): void => {
    write = false;
    const before = ended;
    for (const piece of pieces) decoder.push(piece, 0);
    if (ended !== before + 1) throw new Error("the request was not decoded");
  };
  return {
    decode,
    relay: () => {
      write = true;
      for (const piece of pieces) decoder.push(piece, 0);
      if (out.take().length === 0) throw new Error("nothing was written");
    },
  };
}

function responseBench(text: string): { decode: () => void; relay: () => void } {
  const out = new OutputBuffer();
  const chunk = Buffer.from(text, "latin1");
  const asked = { method: "GET", upgrade: undefined };
  let write = false;
  let chunked = false;
  const decoder = createResponseDecoder(LIMITS, {
    onHead(head: ResponseHead): void {
      if (!write) return;
      const { status, reason, framing, fields } = head;
      chunked = framing.kind === "chunked";
      writeResponseHead(out, { status, reason, fields: fields.raw, framing, close: false, upgrade: undefined });
    },
    onData(bytes: Uint8Array): void {
      if (!write) return;
      if (chunked) writeChunk(out, bytes);
      else out.bytes(bytes);
    },
    onEnd(trailers: Fields | undefined): void {
      if (write && chunked) writeLastChunk(out, trailers);
    },
  });
  const push = (): void => {
    decoder.expect(asked);
    decoder.push(chunk, 0);
    if (!decoder.atBoundary) throw new Error("the response was not decoded");
  };
  return {
    decode: () => {
      write = false;
      push();
    },
    relay: () => {
      write = true;
      push();
      if (out.take().length === 0) throw new Error("nothing was written");
    },
  };
}

const requests: readonly (readonly [string, string, number])[] = [
  ["request, 3 fields", SMALL_REQUEST, 0],
  ["request, 9 fields", USUAL_REQUEST, 0],
  ["request, 9 fields, in two pieces", USUAL_REQUEST, 200],
  ["request, 4 fields and a 200-byte body", POST_REQUEST, 0],
];
for (const [name, text, cut] of requests) {
  const { decode, relay } = requestBench(text, cut);
  measure(`${name} (${text.length} B): decode`, decode);
  measure(`${name} (${text.length} B): decode and write`, relay);
}
for (const [name, text] of [
  ["response, 8 fields, 200-byte body", USUAL_RESPONSE],
  ["response, chunked 200-byte body", CHUNKED_RESPONSE],
] as const) {
  const { decode, relay } = responseBench(text);
  measure(`${name} (${text.length} B): decode`, decode);
  measure(`${name} (${text.length} B): decode and write`, relay);
}
