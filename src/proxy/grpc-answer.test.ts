import { describe, expect, it } from "vitest";
import { grpcAnswer, grpcStatusOf } from "./grpc-answer.ts";

describe("a refusal in gRPC's words", () => {
  it.each([
    ["E_POLICY_DENIED_BY_RULE", 403, 7],
    ["E_JWT_EXPIRED", 401, 16],
    ["E_EXT_AUTHZ_DENIED", 429, 14],
    ["E_UPSTREAM_CONNECT", 502, 14],
    ["E_AUDIT_UNAVAILABLE", 503, 14],
    ["E_UPSTREAM_TIMEOUT", 504, 4],
    ["E_UPSTREAM_LIMIT", 503, 8],
    ["E_OVERLOADED", 503, 8],
    ["E_HTTP_TARGET", 400, 13],
  ] as const)("%s with %d is status %d", (code, status, expected) => {
    expect(grpcStatusOf(code, status)).toBe(expected);
  });

  it("is a response of headers alone, its message percent-encoded", () => {
    const { fields, framing } = grpcAnswer(7, "E_POLICY_DENIED_BY_RULE", "100 % né\n", "d-1");
    expect(framing.kind).toBe("none");
    const message = fields[fields.indexOf("grpc-message") + 1];
    expect(message).toBe("countersign: E_POLICY_DENIED_BY_RULE: 100 %25 n%C3%A9%0A (decision d-1)");
  });
});
