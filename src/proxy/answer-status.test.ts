import { describe, expect, it } from "vitest";
import type { ErrorCode } from "../core/error-codes.ts";
import { statusOf } from "./answer-status.ts";

describe("statusOf", () => {
  it.each<[ErrorCode, number]>([
    ["E_POLICY_DENIED_BY_DEFAULT", 403],
    ["E_POLICY_DENIED_BY_RULE", 403],
    ["E_HTTP_CONNECT", 405],
    ["E_HTTP_HOST", 400],
    ["E_PATH_AMBIGUOUS", 400],
    ["E_AUDIT_UNAVAILABLE", 503],
    ["E_IDENTITY_EXPIRED", 503],
    ["E_UPSTREAM_CONNECT", 502],
    ["E_UPSTREAM_TIMEOUT", 504],
    ["E_PEER_WRONG_IDENTITY", 502],
    ["E_CERT_EXPIRED", 502],
    ["E_LOOP", 508],
  ])("answers %s with %i", (code, status) => expect(statusOf(code)).toBe(status));
});
