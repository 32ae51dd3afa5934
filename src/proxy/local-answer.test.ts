import { describe, expect, it } from "vitest";
import { CountersignError } from "../core/errors.ts";
import { OutputBuffer } from "./http1/output-buffer.ts";
import { writeResponseHead } from "./http1/write-head.ts";
import { localAnswer } from "./local-answer.ts";
import { Refusal } from "./refusal.ts";

const DENIED = new CountersignError("E_EXT_AUTHZ_DENIED", "the provider p denied the call");
const SPLIT = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nPWNED", "latin1");

/** All that is written of an answer over HTTP/1.1. */
function wire(status: number, method: string, own?: Refusal): string {
  const { response, body } = localAnswer(status, "E_EXT_AUTHZ_DENIED", "", "01", method, false, own);
  const out = new OutputBuffer();
  writeResponseHead(out, response);
  return Buffer.concat([out.take(), body]).toString("latin1");
}

describe("an answer whose status has no content", () => {
  const statuses = [204, 205, 304];
  it.each(statuses.flatMap((status) => ["GET", "HEAD", "POST"].map((method) => [status, method] as const)))(
    "%i to %s ends with its head, whatever a provider or we would say",
    (status, method) => {
      for (const own of [undefined, new Refusal(DENIED, status, ["content-type", "text/html"], SPLIT)]) {
        const text = wire(status, method, own);
        expect(text.indexOf("\r\n\r\n")).toBe(text.length - 4);
        expect(text).toMatch(status === 205 ? /\r\nContent-Length: 0\r\n/ : /^(?![\s\S]*content-length)/i);
        expect(text).toContain("\r\nx-countersign-code: E_EXT_AUTHZ_DENIED\r\n");
      }
    },
  );
});

it.each([
  ["GET", "\r\n\r\nbody"],
  ["HEAD", "\r\n\r\n"],
])("any other status answers %s with as much as it announces", (method, ending) => {
  const text = wire(403, method, new Refusal(DENIED, 403, [], Buffer.from("body")));
  expect(text.slice(text.indexOf("\r\n\r\n"))).toBe(ending);
  expect(text).toContain("\r\nContent-Length: 4\r\n");
});

it.each([0, 100, 101, 103, 199, 600])("a refusal is never answered with %i", (status) => {
  expect(() => new Refusal(DENIED, status, [])).toThrow(TypeError);
});
