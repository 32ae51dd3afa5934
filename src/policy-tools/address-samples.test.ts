import { expect, it } from "vitest";
import { addressSamples } from "./address-samples.ts";

it.each([
  ["10.1.0.0/16", ["10.1.0.0", "10.1.128.0", "10.1.255.255", "10.0.255.255", "10.2.0.0"]],
  ["10.1.2.3", ["10.1.2.3", "10.1.2.2", "10.1.2.4"]],
  ["0.0.0.0/0", ["0.0.0.0", "128.0.0.0", "255.255.255.255"]],
  ["255.255.255.255/32", ["255.255.255.255", "255.255.255.254"]],
  ["::ffff:10.0.0.0/104", ["10.0.0.0", "10.128.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"]],
  [
    "2001:db8::/32",
    [
      "2001:db8::",
      "2001:db8:8000::",
      "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
      "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
      "2001:db9::",
    ],
  ],
  ["none", []],
])("of %s are both ends, the middle, and one beside each end", (block, expected) => {
  expect(addressSamples(block)).toEqual(expected);
});
