import { expect, it } from "vitest";
import "../authz/use-cel.ts";
import { patternSamples } from "./pattern-samples.ts";

it.each([
  ["^[0-9]{4}-[0-9]{2}$", ["0000-00", "9999-99"]],
  ["^/orders/\\d+(?:/items)?$", ["/orders/7", "/orders/7/items"]],
  ["^(GET|PUT)$", ["GET", "PUT"]],
  ["a.c", ["axc"]],
  ["^[^x]+$", ["X"]],
  ["^\\.well-known$", [".well-known"]],
  ["[]a]", ["]", "a"]],
  ["^(?P<name>a|b)*c$", ["c", "bc"]],
  ["(?i)^abc$", []],
  ["[[:alpha:]]{3}$", []],
  ["", [""]],
])("%s", (pattern, expected) => {
  expect(patternSamples(pattern)).toEqual(expected);
});

it("of what is nested without end, or is no pattern, there are none", () => {
  expect(patternSamples(`${"(".repeat(200)}a${")".repeat(200)}`)).toEqual([]);
  expect(patternSamples("(")).toEqual([]);
});
