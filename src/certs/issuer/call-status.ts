import { type ServiceError, status } from "@grpc/grpc-js";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";

/** A call that is answered with a gRPC status instead of a message. The text goes to the caller. */
export class CallRefusal extends Error {
  readonly code: status;
  /** Set when the caller was looked at and is entitled to nothing: why, and what was seen of it. */
  readonly attested: { readonly reason: ErrorCode; readonly selectors: readonly string[] } | undefined;
  constructor(code: status, message: string, attested?: CallRefusal["attested"]) {
    super(message);
    this.code = code;
    this.attested = attested;
  }
}

export interface CallStatus extends Pick<ServiceError, "code" | "details"> {
  /** It is our fault, and the text says nothing about it. */
  readonly internal: boolean;
  /** See CallRefusal. */
  readonly attested: CallRefusal["attested"];
}

/** What a caller is told about an error. */
export function callStatusOf(error: unknown): CallStatus {
  if (error instanceof CallRefusal)
    return { code: error.code, details: error.message, internal: false, attested: error.attested };
  if (error instanceof CountersignError) {
    const code = statusByCode[error.code];
    if (code !== undefined) {
      const attested = { reason: error.code, selectors: [] };
      return { code, details: `${error.code} ${error.message}`, internal: false, attested };
    }
  }
  // Unavailable, so that clients try again (SPIFFE Workload API section 6).
  return {
    code: status.UNAVAILABLE,
    details: "the issuer failed; its log says why",
    internal: true,
    attested: undefined,
  };
}

/** Errors of looking at a caller. */
const statusByCode: Readonly<Record<string, status>> = {
  E_PEER_CREDENTIALS: status.PERMISSION_DENIED,
  E_HASH_LIMIT: status.RESOURCE_EXHAUSTED,
};
