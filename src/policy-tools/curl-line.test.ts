import { describe, expect, it } from "vitest";
import { parseCurlLine } from "./curl-line.ts";

describe("a curl line", () => {
  it.each([
    ["curl http://orders/orders/7?dry=1", "GET orders /orders/7?dry=1"],
    ["orders.shop:8080", "GET orders.shop:8080 /"],
    ["curl -X DELETE https://user:secret@orders/x", "DELETE orders /x"],
    ["curl -XPUT orders/x", "PUT orders /x"],
    ["curl --request=PATCH orders/x#part", "PATCH orders /x"],
    ["curl -I orders/x", "HEAD orders /x"],
    ["curl -d '{\"a\": 1}' orders/x", "POST orders /x"],
    ["curl -G -d a=1 orders/x", "GET orders /x"],
    ["curl -T file orders/x", "PUT orders /x"],
    ["curl -sSL -o /dev/null --max-time 3 orders/x", "GET orders /x"],
    ["curl -skX POST \\\n  'orders/a b'", "POST orders /a b"],
    ["curl --url orders/x -H 'Host: other'", "GET other /x"],
  ])("%s", (line, expected) => {
    const { method, host, path } = parseCurlLine(line);
    expect(`${method} ${host} ${path}`).toBe(expected);
  });

  it("keeps headers in their order, with their lines", () => {
    const { headers } = parseCurlLine(
      `curl orders/ -H 'x-tenant: acme ' -H "X-Note: say \\"hi\\"" -H x-empty\\; -H 'accept:' --json '{}' -b a=1`,
    );
    expect(headers).toEqual([
      "x-tenant",
      "acme",
      "X-Note",
      'say "hi"',
      "x-empty",
      "",
      "content-type",
      "application/json",
      "cookie",
      "a=1",
    ]);
  });

  it.each([
    ["curl", "it has no URL"],
    ["curl a b", "it has more than one URL"],
    ["curl --next a", 'the option "--next" is not known here'],
    ["curl 'a", "a quote is not closed"],
    ["curl a -H", "-H has no value"],
    ["curl a -H 'no header'", '"no header" is no header'],
    ["curl a -H 'x: 1\r\ny: 2'", '"x: 1\\r\\ny: 2" is no header'],
    ["curl a -H 'host: b' -H 'Host: c'", "it has more than one Host"],
  ])("%s is refused", (line, why) => {
    expect(() => parseCurlLine(line)).toThrow(`the curl line is not understood: ${why}`);
  });
});
