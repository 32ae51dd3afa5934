import { CountersignError } from "../../core/errors.ts";

/** gRPC status codes that mean something of their own here. */
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;

const statusNames: Readonly<Record<number, string>> = {
  0: "OK",
  1: "CANCELLED",
  2: "UNKNOWN",
  3: "INVALID_ARGUMENT",
  4: "DEADLINE_EXCEEDED",
  5: "NOT_FOUND",
  7: "PERMISSION_DENIED",
  8: "RESOURCE_EXHAUSTED",
  12: "UNIMPLEMENTED",
  13: "INTERNAL",
  14: "UNAVAILABLE",
  16: "UNAUTHENTICATED",
};

/** How a call of the Workload API ended, as the error that says so: E_WORKLOAD_API_REFUSED (never try again),
 *  E_WORKLOAD_API_DENIED (there is nothing for this workload) or E_WORKLOAD_API_UNAVAILABLE (SPIFFE Workload Endpoint
 *  section 6.2). */
export function workloadApiProblem(address: string, code: number, details: string): CountersignError {
  const answer =
    code === 0
      ? "ended the stream"
      : `answered ${statusNames[code] ?? `status ${code}`}: ${details.slice(0, 256).replace(/[^\x20-\x7e]/g, "?")}`;
  switch (code) {
    case INVALID_ARGUMENT:
    case UNIMPLEMENTED:
      return new CountersignError("E_WORKLOAD_API_REFUSED", `${address} ${answer}; not retried`);
    case PERMISSION_DENIED:
      return new CountersignError("E_WORKLOAD_API_DENIED", `${address} ${answer}`);
    default:
      return new CountersignError("E_WORKLOAD_API_UNAVAILABLE", `${address} ${answer}`);
  }
}
