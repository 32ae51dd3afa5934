import { describe, expect, it } from "vitest";
import { namesToAsk, parseSearchRules } from "./name-ttl.ts";

describe("resolv.conf", () => {
  it.each([
    ["", [], 1],
    ["nameserver 10.0.0.1\n", [], 1],
    [
      "search shop.svc.cluster.local svc.cluster.local.\noptions ndots:5 edns0\n",
      ["shop.svc.cluster.local", "svc.cluster.local"],
      5,
    ],
    ["domain a.test\nsearch b.test\n", ["b.test"], 1],
    ["options ndots:x\n", [], 1],
    ["options ndots:99\n", [], 15],
    ["search 1 2 3 4 5 6 7 8\n", ["1", "2", "3", "4", "5", "6"], 1],
  ])("%j is read", (text, domains, dots) => {
    expect(parseSearchRules(text)).toEqual({ domains, dots });
  });

  it.each([
    ["payments", 1, ["payments.a.test", "payments.b.test", "payments"]],
    ["payments.shop", 1, ["payments.shop", "payments.shop.a.test", "payments.shop.b.test"]],
    ["payments.shop", 5, ["payments.shop.a.test", "payments.shop.b.test", "payments.shop"]],
    ["payments.shop.", 5, ["payments.shop"]],
  ])("%s with ndots %i is asked for as %j", (name, dots, names) => {
    expect(namesToAsk(name, { domains: ["a.test", "b.test"], dots })).toEqual(names);
  });
});
