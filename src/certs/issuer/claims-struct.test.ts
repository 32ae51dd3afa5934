import { expect, it } from "vitest";
import { claimsStruct } from "./claims-struct.ts";

it("carries every kind of JSON value as a google.protobuf.Struct", () => {
  expect(claimsStruct({ a: 1.5, b: "x", c: true, d: null, e: ["y", 2], f: { g: false } })).toEqual({
    fields: {
      a: { numberValue: 1.5 },
      b: { stringValue: "x" },
      c: { boolValue: true },
      d: { nullValue: "NULL_VALUE" },
      e: { listValue: { values: [{ stringValue: "y" }, { numberValue: 2 }] } },
      f: { structValue: { fields: { g: { boolValue: false } } } },
    },
  });
});
