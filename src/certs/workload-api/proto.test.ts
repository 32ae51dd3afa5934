import { expect, test } from "vitest";
import { loadWorkloadApi } from "./proto.ts";

test("names the service as the standard does, without a package", async () => {
  const api = await loadWorkloadApi();
  expect(Object.fromEntries(Object.entries(api).map(([name, method]) => [name, method.path]))).toEqual({
    FetchX509SVID: "/SpiffeWorkloadAPI/FetchX509SVID",
    FetchX509Bundles: "/SpiffeWorkloadAPI/FetchX509Bundles",
    FetchJWTSVID: "/SpiffeWorkloadAPI/FetchJWTSVID",
    FetchJWTBundles: "/SpiffeWorkloadAPI/FetchJWTBundles",
    ValidateJWTSVID: "/SpiffeWorkloadAPI/ValidateJWTSVID",
  });
  expect(Object.entries(api).flatMap(([name, method]) => (method.responseStream ? [name] : []))).toEqual([
    "FetchX509SVID",
    "FetchX509Bundles",
    "FetchJWTBundles",
  ]);
});

test("writes the standard's field numbers", async () => {
  const api = await loadWorkloadApi();
  const wire = api.FetchX509SVID.responseSerialize({
    svids: [
      {
        spiffeId: "a",
        x509Svid: Buffer.from("b"),
        x509SvidKey: Buffer.from("c"),
        bundle: Buffer.from("d"),
        hint: "e",
      },
    ],
    crl: [Buffer.from("f")],
    federatedBundles: { g: Buffer.from("h") },
  });
  // tag = field << 3 | 2 (length-delimited)
  expect(wire.toString("hex")).toBe(
    "0a0f" + "0a0161" + "120162" + "1a0163" + "220164" + "2a0165" + "120166" + "1a06" + "0a0167" + "120168",
  );
  const bundles = api.FetchX509Bundles.responseSerialize({ crl: [Buffer.from("f")], bundles: { g: Buffer.from("h") } });
  expect(bundles.toString("hex")).toBe("0a0166" + "1206" + "0a0167" + "120168");
  const jwt = api.FetchJWTSVID.requestSerialize({ audience: ["a", "b"], spiffeId: "c" });
  expect(jwt.toString("hex")).toBe("0a0161" + "0a0162" + "120163");
  const token = api.FetchJWTSVID.responseSerialize({ svids: [{ spiffeId: "a", svid: "b", hint: "c" }] });
  expect(token.toString("hex")).toBe("0a09" + "0a0161" + "120162" + "1a0163");
});

test("reads an absent field as empty and claims as a Struct", async () => {
  const api = await loadWorkloadApi();
  expect(api.FetchX509SVID.responseDeserialize(Buffer.alloc(0))).toEqual({ svids: [], crl: [], federatedBundles: {} });
  const claims = { fields: { n: { numberValue: 1 }, l: { listValue: { values: [{ boolValue: true }] } } } };
  const wire = api.ValidateJWTSVID.responseSerialize({ spiffeId: "a", claims });
  expect(api.ValidateJWTSVID.responseDeserialize(wire)).toEqual({ spiffeId: "a", claims });
});
