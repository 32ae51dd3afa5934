import type { RequestHead } from "../http1/http1-events.ts";

/** It is for us, and we ask for none (RFC 9110 section 11.7.2). */
const OUR_CREDENTIALS = "proxy-authorization";

/** The fields of a request to the proxy that end here: what Connection names, and credentials for us. */
export function namesThatEndHere({ connectionNames, fields }: RequestHead): readonly string[] {
  return fields.lower.includes(OUR_CREDENTIALS) ? [...connectionNames, OUR_CREDENTIALS] : connectionNames;
}
