import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type AskedRequest,
  cutAt,
  everyByte,
  readRequests,
  readResponses,
  type SeenMessage,
  usualLimits,
} from "../../../test/support/http1-transcript.ts";
import { HeadLines } from "./head-lines.ts";
import { isHopByHop } from "./hop-by-hop.ts";
import type { Fields, RequestHead, ResponseHead } from "./http1-events.ts";
import { OutputBuffer } from "./output-buffer.ts";
import { type WrittenRequest, writeChunk, writeLastChunk, writeRequestHead, writeResponseHead } from "./write-head.ts";

const RUNS = 400;
/** So small that generated messages pass them often. */
const tightLimits = { headBytes: 160, headFields: 5, requestLine: 30 };

const token = fc.string({ unit: fc.constantFrom(..."abXY09-_!~".split("")), minLength: 1, maxLength: 12 });
const value = fc
  .string({ unit: fc.constantFrom(...'ab ,;="\t\xe9:/0'.split("")), maxLength: 20 })
  .map((text) => text.replace(/^[ \t]+|[ \t]+$/g, ""));
const space = fc.constantFrom("", " ", "\t ", "  ");
const fieldLine = fc
  .tuple(
    fc.oneof(token, fc.constantFrom("Accept", "user-agent", "X-Request-Id", "TE", "Keep-Alive", "Upgrade", "x-y")),
    space,
    value,
    space,
  )
  .map(([name, before, text, after]) => `${name}:${before}${text}${after}\r\n`);
const fieldLines = fc.array(fieldLine, { maxLength: 6 }).map((lines) => lines.join(""));
const content = fc.string({ unit: fc.constantFrom(..."ab\r\n\0\xff0 ".split("")), maxLength: 40 });
const chunkedBody = fc
  .tuple(fc.array(content, { maxLength: 4 }), fc.constantFrom("", ";a", ';a=b;c="d;e"'), fieldLines)
  .map(([chunks, extension, trailers]) => {
    const filled = chunks.filter((chunk) => chunk.length > 0);
    const written = filled.map((chunk) => `${chunk.length.toString(16).toUpperCase()}${extension}\r\n${chunk}\r\n`);
    return `${written.join("")}0${extension}\r\n${trailers}\r\n`;
  });
/** Framing fields and the body that they frame. */
const framed = fc.oneof(
  fc.constant(["", ""] as const),
  content.map((body) => [`Content-Length: ${body.length}\r\n`, body] as const),
  chunkedBody.map((body) => ["transfer-encoding: chunked\r\n", body] as const),
);
const requestText = fc
  .tuple(
    fc.constantFrom("GET", "POST", "OPTIONS", "X-Y"),
    fc.constantFrom("/", "/a?b=c", "//x/%2e%2e/y?", "http://b.example/z?q"),
    fieldLines,
    framed,
    fieldLines,
  )
  .map(([method, target, before, [framing, body], after]) => {
    return `${method} ${target} HTTP/1.1\r\n${before}Host: a.example:80\r\n${framing}${after}\r\n${body}`;
  });
const responseText = fc
  .tuple(
    fc.constantFrom("HTTP/1.1 200 OK", "HTTP/1.1 404 ", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 x"),
    fieldLines,
    framed,
  )
  .map(([line, fields, [framing, body]]) => {
    return `${line}\r\n${fields}${framing === "" ? "Content-Length: 0\r\n" : framing}\r\n${body}`;
  });

/** Pieces of text that attacks are made of. */
const trick = fc.constantFrom(
  "\r\n",
  "\n",
  "\r",
  "\0",
  " ",
  "\t",
  ":",
  ",",
  ";",
  "0",
  "5",
  "\r\n\r\n",
  "Content-Length: 3\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: x\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "0\r\n\r\n",
  "Host: b\r\n",
  "HTTP/1.1",
  "Connection: close\r\n",
  "\x80",
  "\x7f",
);
interface Mutation {
  readonly at: number;
  readonly drop: number;
  readonly insert: string;
}
const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.nat(600),
  drop: fc.nat(3),
  insert: fc.oneof(trick, fc.constant("")),
});

function mutate(text: string, mutations: readonly Mutation[]): string {
  let result = text;
  for (const { at, drop, insert } of mutations) {
    const place = at % (result.length + 1);
    result = result.slice(0, place) + insert + result.slice(place + drop);
  }
  return result;
}

/** A stream of one to three messages, a broken variant of one, or garbage. */
function streamOf(message: fc.Arbitrary<string>): fc.Arbitrary<Buffer> {
  const stream = fc.array(message, { minLength: 1, maxLength: 3 }).map((messages) => messages.join(""));
  return fc
    .oneof(
      { arbitrary: stream, weight: 2 },
      {
        arbitrary: fc
          .tuple(stream, fc.array(mutation, { minLength: 1, maxLength: 3 }))
          .map(([text, by]) => mutate(text, by)),
        weight: 4,
      },
      { arbitrary: fc.array(trick, { maxLength: 20 }).map((tricks) => tricks.join("")), weight: 1 },
    )
    .map((text) => Buffer.from(text, "latin1"));
}

const cuts = fc.array(fc.nat(2000), { maxLength: 8 });
const asked: AskedRequest[] = [
  { method: "GET", upgrade: undefined },
  { method: "HEAD", upgrade: undefined },
  { method: "GET", upgrade: "websocket" },
  { method: "POST", upgrade: undefined },
];

describe("any way of cutting a stream into pieces gives the same events", () => {
  test.each([usualLimits, tightLimits])("of requests, with limits %j", (limits) => {
    fc.assert(
      fc.property(streamOf(requestText), cuts, (stream, offsets) => {
        const whole = readRequests([stream], limits);
        expect(readRequests(cutAt(stream, offsets), limits)).toEqual(whole);
        expect(readRequests(everyByte(stream), limits)).toEqual(whole);
      }),
      { numRuns: RUNS },
    );
  });

  test.each([usualLimits, tightLimits])("of responses, with limits %j", (limits) => {
    fc.assert(
      fc.property(streamOf(responseText), cuts, (stream, offsets) => {
        const whole = readResponses([stream], asked, limits);
        expect(readResponses(cutAt(stream, offsets), asked, limits)).toEqual(whole);
        expect(readResponses(everyByte(stream), asked, limits)).toEqual(whole);
      }),
      { numRuns: RUNS },
    );
  });
});

type Forwarded = Pick<WrittenRequest, "lines" | "fields">;

/** Every field by itself, the hop's left to the writer. */
function asFields(fields: Fields): Forwarded {
  return { fields: fields.raw };
}

/** As the proxy forwards them: lines copied from the head. */
function asLines(fields: Fields): Forwarded {
  const lines = new HeadLines(fields);
  for (const [field, name] of fields.lower.entries()) {
    if (isHopByHop(name)) lines.drop(field);
    else lines.keep(field);
  }
  return { lines, fields: [] };
}

type Forward = typeof asFields;

/** Writes a message again. */
function forward(message: SeenMessage<RequestHead>, passOn: Forward): Buffer {
  const { head, body, trailers } = message;
  const out = new OutputBuffer();
  const { method, target, fields, framing } = head;
  writeRequestHead(out, { method, target, ...passOn(fields), framing, upgrade: undefined });
  forwardBody(out, framing.kind === "chunked", body, trailers);
  return out.take();
}

function forwardResponse(message: SeenMessage<ResponseHead>, passOn: Forward): Buffer {
  const { head, body, trailers } = message;
  const out = new OutputBuffer();
  const { status, reason, fields, framing, declaredLength } = head;
  writeResponseHead(out, {
    status,
    reason,
    ...passOn(fields),
    framing,
    close: false,
    upgrade: undefined,
    declaredLength,
  });
  forwardBody(out, framing.kind === "chunked", body, trailers);
  return out.take();
}

function forwardBody(out: OutputBuffer, chunked: boolean, body: string, trailers: readonly string[] | undefined): void {
  if (!chunked) {
    out.bytes(Buffer.from(body, "latin1"));
    return;
  }
  writeChunk(out, Buffer.from(body, "latin1"));
  writeLastChunk(out, trailers === undefined ? undefined : { raw: [...trailers], lower: [] });
}

/** Fields that travel on, as text to compare. */
function endToEnd(raw: readonly string[]): string[] {
  const lines: string[] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] ?? "";
    if (!isHopByHop(name)) lines.push(`${name}: ${raw[at + 1] ?? ""}`);
  }
  return lines;
}

function meaning(message: SeenMessage<RequestHead>): unknown {
  const { method, target, authority, path, query, framing, fields } = message.head;
  return {
    method,
    target,
    authority,
    path,
    query,
    framing,
    fields: endToEnd(fields.raw),
    body: message.body,
    trailers: message.trailers,
  };
}

function responseMeaning(message: SeenMessage<ResponseHead>): unknown {
  const { status, reason, framing, fields } = message.head;
  return { status, reason, framing, fields: endToEnd(fields.raw), body: message.body, trailers: message.trailers };
}

describe.each([
  ["field by field", asFields],
  ["in lines", asLines],
])("what is forwarded %s means what was parsed", (_, passOn) => {
  test("whatever requests a stream holds, valid or mutated", () => {
    let forwarded = 0;
    fc.assert(
      fc.property(streamOf(requestText), (stream) => {
        const all = readRequests([stream]).messages.filter(({ isComplete }) => isComplete);
        // HTTP/1.0 knows requests without Host, HTTP/1.1 does not
        const complete = all.filter(({ head }) => head.authority !== "");
        for (const { head } of all) if (head.authority === "") expect(head.minor).toBe(0);
        forwarded += complete.length;
        const again = readRequests([Buffer.concat(complete.map((message) => forward(message, passOn)))]);
        expect(again.violation).toBeUndefined();
        expect(again.messages.map(meaning)).toEqual(complete.map(meaning));
      }),
      { numRuns: 2 * RUNS },
    );
    expect(forwarded).toBeGreaterThan(RUNS / 2);
  });

  test("whatever responses a stream holds, valid or mutated", () => {
    let forwarded = 0;
    fc.assert(
      fc.property(streamOf(responseText), (stream) => {
        const complete = readResponses([stream], asked).messages.filter(
          ({ isComplete, head }) => isComplete && head.framing.kind !== "close" && head.status !== 101,
        );
        forwarded += complete.length;
        for (const message of complete) {
          const { framing, status } = message.head;
          const request: AskedRequest = {
            method: framing.kind === "none" && status !== 204 && status !== 304 ? "HEAD" : "GET",
            upgrade: undefined,
          };
          const again = readResponses([forwardResponse(message, passOn)], [request]);
          expect(again.violation).toBeUndefined();
          expect(again.messages.map(responseMeaning)).toEqual([responseMeaning(message)]);
        }
      }),
      { numRuns: 2 * RUNS },
    );
    expect(forwarded).toBeGreaterThan(RUNS / 2);
  });
});
