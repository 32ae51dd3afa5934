import type { ErrorCode } from "../core/error-codes.ts";

const STATUS: Partial<Record<ErrorCode, number>> = {
  E_POLICY_DENIED_BY_RULE: 403,
  E_POLICY_DENIED_BY_DEFAULT: 403,
  E_BROWSER_REFUSED: 403,
  E_PLAINTEXT_REFUSED: 403,
  E_CALLER_UID: 403,
  E_EGRESS_TARGET: 400,
  E_EGRESS_PORT: 403,
  E_EGRESS_ADDRESS: 403,
  E_EGRESS_HOST: 403,
  E_EXT_AUTHZ_BODY_TOO_LARGE: 413,
  E_EXT_AUTHZ_BODY_PASSED: 403,
  E_HTTP_CONNECT: 405,
  E_HTTP_UPGRADE: 501,
  E_REQUEST_TIMEOUT: 408,
  E_IDLE_TIMEOUT: 408,
  E_AUDIT_UNAVAILABLE: 503,
  E_JWT_SVID_CONFLICT: 400,
  E_JWT_SVID_NONE: 503,
  E_IDENTITY_NONE: 503,
  E_IDENTITY_TIMEOUT: 503,
  E_IDENTITY_EXPIRED: 503,
  E_UPSTREAM_LIMIT: 503,
  E_UPSTREAM_RESOLVE: 503,
  E_CONNECTION_LIMIT: 503,
  E_OVERLOADED: 503,
  E_UPSTREAM_REFUSED_STREAM: 503,
  E_UPSTREAM_TIMEOUT: 504,
  E_DRAIN_CUT: 503,
  E_LOOP: 508,
};

/** HTTP status of a local answer with this code. What isn't named is the caller's fault by prefix (`E_HTTP_`, `E_PATH_`), or
 *  the upstream's (502). */
export function statusOf(code: ErrorCode): number {
  const named = STATUS[code];
  if (named !== undefined) return named;
  if (code.startsWith("E_HTTP_") || code.startsWith("E_PATH_")) return 400;
  if (code.startsWith("E_POLICY_")) return 403;
  if (code.startsWith("E_IDENTITY_")) return 503;
  return 502;
}
