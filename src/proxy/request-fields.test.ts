import { describe, expect, it } from "vitest";
import { hopsOf, isIdentityField, MAX_HOPS, xfccElement } from "./identity-fields.ts";
import { responseLines, safeTrailers, scanRequestFields } from "./request-fields.ts";

function fields(...pairs: [string, string][]): { raw: string[]; lower: string[] } {
  return { raw: pairs.flat(), lower: pairs.map(([name]) => name.toLowerCase()) };
}

describe("identity fields", () => {
  it.each([
    "x-forwarded-client-cert",
    "x_forwarded_client_cert",
    "x-forwarded_client-cert",
    "x-countersign-id",
    "x_countersign_code",
    "x-countersign-anything",
    "x_forwarded_proto",
    "x-forwarded_for",
  ])("takes %s for ours", (name) => expect(isIdentityField(name)).toBe(true));

  it.each([
    "x-forwarded-for",
    "x-forwarded-proto",
    "x_request_id",
    "x-countersig",
    "countersign-x",
    "x-request-id",
    "",
  ])("leaves %s alone", (name) => expect(isIdentityField(name)).toBe(false));

  it.each([
    [undefined, 0],
    ["0", 0],
    ["7", 7],
    ["16", 16],
    ["99", 99],
    ["", MAX_HOPS],
    ["-1", MAX_HOPS],
    ["1 ", MAX_HOPS],
    ["100000", MAX_HOPS],
    ["x", MAX_HOPS],
  ])("counts %j hops as %i", (value, hops) => expect(hopsOf(value)).toBe(hops));

  it("quotes values that hold the list's own separators", () => {
    expect(xfccElement("spiffe://a/b", "ab", 'x;y="z"')).toBe('By=spiffe://a/b;Hash=ab;URI="x;y=\\"z\\""');
  });
});

describe("scanRequestFields", () => {
  it("gives the same object back when nothing is to be removed", () => {
    const given = fields(["Host", "a"], ["Accept", "*/*"]);
    expect(scanRequestFields(given, [], false).kept).toBe(given);
  });

  it("removes what identifies callers, whoever sends it", () => {
    const given = fields(
      ["Host", "a"],
      ["X-Forwarded-Client-Cert", "URI=spiffe://evil/x"],
      ["x_countersign_id", "1"],
      ["X-Forwarded-Proto", "https"],
      ["X_Forwarded_Proto", "https"],
      ["X-Forwarded-For", "1.2.3.4"],
      ["X_Forwarded_For", "1.2.3.4"],
      ["Traceparent", "not one"],
      ["Accept", "*/*"],
    );
    const scanned = scanRequestFields(given, [], false);
    expect(scanned.kept).toEqual(fields(["Host", "a"], ["Accept", "*/*"]));
    expect(scanned.clientCert).toBe("URI=spiffe://evil/x");
    expect(scanned.forwardedFor).toBe("1.2.3.4");
  });

  it("removes the fields that Connection names, before policy can see them", () => {
    const given = fields(["Host", "a"], ["X-Role", "admin"], ["Connection", "x-role"]);
    expect(scanRequestFields(given, ["x-role"], false).kept.lower).toEqual(["host", "connection"]);
  });

  it("joins forwarded-for lines and keeps them from a trusted proxy", () => {
    const given = fields(["X-Forwarded-For", "1.1.1.1"], ["x-forwarded-for", "2.2.2.2"]);
    const scanned = scanRequestFields(given, [], true);
    expect(scanned.forwardedFor).toBe("1.1.1.1,2.2.2.2");
    expect(scanned.kept).toBe(given);
  });

  it("keeps the first request id and replaces an endless one", () => {
    expect(scanRequestFields(fields(["x-request-id", "a"], ["x-request-id", "b"]), [], false)).toMatchObject({
      requestId: "a",
      kept: fields(["x-request-id", "a"]),
    });
    expect(scanRequestFields(fields(["x-request-id", "a".repeat(129)]), [], false)).toMatchObject({
      requestId: undefined,
      kept: fields(),
    });
  });
});

describe("responses and trailers", () => {
  it("lets only the named fields of ours pass", () => {
    const given = fields(["x-countersign-code", "E_X"], ["x-countersign-hops", "3"], ["server", "s"]);
    expect(responseLines(given, [], new Set(["x-countersign-code"])).text).toBe(
      "x-countersign-code: E_X\r\nserver: s\r\n",
    );
    expect(responseLines(given, [], undefined).text).toBe("server: s\r\n");
  });

  it("drops identity fields from trailers", () => {
    expect(safeTrailers(fields(["x_forwarded_client_cert", "x"]))).toBeUndefined();
    expect(safeTrailers(fields(["x-countersign-id", "x"], ["grpc-status", "0"]))).toEqual(fields(["grpc-status", "0"]));
    const clean = fields(["grpc-status", "0"]);
    expect(safeTrailers(clean)).toBe(clean);
  });
});
