import { expect, test } from "vitest";
import type { Fields } from "./http1-events.ts";
import { isWebSocketAccept } from "./websocket-accept.ts";

function fields(...raw: string[]): Fields {
  return { raw, lower: raw.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()) };
}

const key = fields("Host", "a", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

test("the example of RFC 6455 section 1.3 is believed", () => {
  expect(isWebSocketAccept(key, fields("sec-websocket-accept", accept))).toBe(true);
});

test.each<[string, Fields, Fields]>([
  [
    "another key's answer",
    fields("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    fields("Sec-WebSocket-Accept", accept),
  ],
  ["no answer", key, fields("X", accept)],
  ["an empty answer", key, fields("Sec-WebSocket-Accept", "")],
  ["no key", fields("Host", "a"), fields("Sec-WebSocket-Accept", accept)],
  ["two answers", key, fields("Sec-WebSocket-Accept", accept, "Sec-WebSocket-Accept", accept)],
  ["an answer in another case", key, fields("Sec-WebSocket-Accept", accept.toLowerCase())],
])("%s is not believed", (_, request, response) => {
  expect(isWebSocketAccept(request, response)).toBe(false);
});
