import { CountersignError } from "../../core/errors.ts";
import { parseSpiffeId, parseTrustDomain, pathOf, type TrustDomain, trustDomainOf } from "../../core/spiffe-id.ts";

/** The trust domain that keys a bundle of a message. The standard writes its SPIFFE ID; agents that send the bare name exist.
 *  Throws CountersignError. */
export function federatedDomain(name: string): TrustDomain {
  if (!name.startsWith("spiffe://")) return parseTrustDomain(name);
  const id = parseSpiffeId(name);
  if (pathOf(id) !== "") throw malformed("has a federated bundle for an ID with a path");
  return trustDomainOf(id);
}

/** A message that breaks its standard. */
export function malformed(text: string): CountersignError {
  return new CountersignError("E_WORKLOAD_API_MESSAGE", `a message of the Workload API ${text}`);
}
