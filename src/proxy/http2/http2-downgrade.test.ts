import fc from "fast-check";
import { expect, test } from "vitest";
import { fieldsOf, type Pairs } from "../../../test/support/hpack-literals.ts";
import { readRequests, readResponses, usualLimits } from "../../../test/support/http1-transcript.ts";
import { isHopByHop } from "../http1/hop-by-hop.ts";
import { OutputBuffer } from "../http1/output-buffer.ts";
import { writeChunk, writeLastChunk, writeRequestHead, writeResponseHead } from "../http1/write-head.ts";
import { readRequest } from "./read-request.ts";
import { readResponse, readTrailers } from "./read-response.ts";

const RUNS = 3000;

/** What could become a line, a field, a request or a chunk of its own once it stands in HTTP/1.1. */
const attack = fc.constantFrom(
  "\r\n",
  "\n",
  "\r",
  "\0",
  ":",
  " ",
  "\t",
  "/",
  "#",
  "?",
  "\r\nhost: b.example",
  "\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n",
  " HTTP/1.1\r\nx: ",
  ",",
  "\x85",
  "\xff",
  "0",
);
const tail = fc.array(attack, { maxLength: 2 }).map((parts) => parts.join(""));
/** `usual`, with an attack at its end, its beginning or nowhere. */
const bent = (usual: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 24, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: tail.map((text) => usual + text) },
    { weight: 1, arbitrary: tail.map((text) => text + usual) },
  );
const pair = (name: string, ...values: string[]): fc.Arbitrary<readonly [string, string]> =>
  fc.tuple(bent(name), fc.oneof(...values.map(bent)));
const field = fc.oneof(
  pair("x-a", "1", "", "b c"),
  pair("X-B", "1"),
  pair("host", "a.example", "b.example"),
  pair("cookie", "a=1", "b=2"),
  pair("content-length", "0", "5", "05", "5,5"),
  pair("transfer-encoding", "chunked"),
  pair("transfer_encoding", "chunked"),
  pair("connection", "close", "x-a"),
  pair("te", "trailers", "gzip"),
  pair("expect", "100-continue"),
  pair("upgrade", "websocket"),
  pair("trailer", "x-a"),
);
const fields = fc.array(field, { maxLength: 4 });
const pseudo = fc.tuple(
  pair(":method", "GET", "POST", "OPTIONS", "HEAD", "PURGE"),
  pair(":scheme", "https"),
  pair(":authority", "a.example", "a.example:80"),
  pair(":path", "/", "/a?b=c", "*", "//x/%2e%2e/y?"),
);
const body = fc.constantFrom(undefined, "hello", "0\r\n\r\nGET /x HTTP/1.1\r\n\r\n");

function passedOn({ raw }: { readonly raw: readonly string[] }): readonly string[] {
  return raw.filter((_, at) => !isHopByHop(raw[at - (at % 2)] as string));
}

test("a request that HTTP/2 accepts is the same request, and no more, once it is written as HTTP/1.1", () => {
  let accepted = 0;
  fc.assert(
    fc.property(pseudo, fields, body, (names, rest, content) => {
      const pairs: Pairs = [...names, ...rest];
      const decoded = fieldsOf(pairs);
      const head = readRequest(decoded, decoded.length, content === undefined, usualLimits);
      if ("code" in head) return;
      // the length is compared with the DATA, and a request that doesn't keep to it is reset
      if (head.framing.kind === "length" && head.framing.length !== (content ?? "").length) return;
      accepted++;
      const out = new OutputBuffer();
      const { method, target, framing } = head;
      writeRequestHead(out, { method, target, fields: head.fields.raw, framing, upgrade: undefined });
      if (framing.kind === "chunked") {
        writeChunk(out, Buffer.from(content ?? "", "latin1"));
        writeLastChunk(out, undefined);
      } else out.latin1(content ?? "");
      const { messages, violation } = readRequests([out.take()]);
      expect(violation).toBeUndefined();
      expect(messages).toHaveLength(1);
      const [message] = messages;
      expect(message?.head).toMatchObject({
        method,
        target,
        form: head.form,
        authority: head.authority,
        path: head.path,
        query: head.query,
        framing,
        expectContinue: head.expectContinue,
        upgrade: undefined,
      });
      expect(passedOn(message?.head.fields ?? { raw: [] })).toEqual(passedOn(head.fields));
      expect(message?.body).toBe(content ?? "");
    }),
    { numRuns: RUNS },
  );
  expect(accepted).toBeGreaterThan(RUNS / 20);
});

test("a response that HTTP/2 accepts is the same response, and no more, once it is written as HTTP/1.1", () => {
  let accepted = 0;
  const status = pair(":status", "200", "204", "304", "404", "101", "999", "20");
  fc.assert(
    fc.property(status, fields, fields, body, fc.constantFrom("GET", "HEAD"), (line, rest, last, content, method) => {
      const pairs: Pairs = [line, ...rest];
      const decoded = fieldsOf(pairs);
      const head = readResponse(decoded, decoded.length, content === undefined, method);
      if ("code" in head) return;
      const { framing, declaredLength } = head;
      if (framing.kind === "length" && framing.length !== (content ?? "").length) return;
      const trailerFields = fieldsOf(last);
      const trailers = readTrailers(trailerFields, trailerFields.length);
      if (trailers !== undefined && "code" in trailers) return;
      accepted++;
      const out = new OutputBuffer();
      const { reason } = head;
      const raw = head.fields.raw;
      writeResponseHead(out, {
        status: head.status,
        reason,
        fields: raw,
        framing,
        declaredLength,
        close: false,
        upgrade: undefined,
      });
      if (framing.kind === "chunked") {
        writeChunk(out, Buffer.from(content ?? "", "latin1"));
        writeLastChunk(out, trailers);
      } else if (framing.kind === "length") out.latin1(content ?? "");
      const { messages, violation } = readResponses([out.take()], [{ method, upgrade: undefined }]);
      expect(violation).toBeUndefined();
      const [message] = messages;
      expect(messages).toHaveLength(1);
      expect(message?.isComplete).toBe(true);
      expect(message?.head.status).toBe(head.status);
      expect(passedOn(message?.head.fields ?? { raw: [] })).toEqual(passedOn(head.fields));
      expect(message?.body).toBe(framing.kind === "none" ? "" : (content ?? ""));
      const expected = framing.kind === "chunked" && trailers !== undefined ? passedOn(trailers) : [];
      expect(message?.trailers ?? []).toEqual(expected);
    }),
    { numRuns: RUNS },
  );
  expect(accepted).toBeGreaterThan(RUNS / 20);
});
