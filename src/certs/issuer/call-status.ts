import { type ServiceError, status } from "@grpc/grpc-js";
import { CountersignError } from "../../core/errors.ts";

/** A call that is answered with a gRPC status instead of a message. The text goes to the caller. */
export class CallRefusal extends Error {
  readonly code: status;
  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

/** What a caller is told about an error. `internal`: it is our fault, and the text says nothing about it. */
export function callStatusOf(error: unknown): Pick<ServiceError, "code" | "details"> & { readonly internal: boolean } {
  if (error instanceof CallRefusal) return { code: error.code, details: error.message, internal: false };
  if (error instanceof CountersignError) {
    const code = statusByCode[error.code];
    if (code !== undefined) return { code, details: `${error.code} ${error.message}`, internal: false };
  }
  // Unavailable, so that clients try again (SPIFFE Workload API section 6).
  return { code: status.UNAVAILABLE, details: "the issuer failed; its log says why", internal: true };
}

const statusByCode: Readonly<Record<string, status>> = {
  E_PEER_CREDENTIALS: status.PERMISSION_DENIED,
  E_HASH_LIMIT: status.RESOURCE_EXHAUSTED,
  E_JWT_SVID: status.INVALID_ARGUMENT,
};
