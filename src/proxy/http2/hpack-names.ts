import { FIRST_DYNAMIC, STATIC_TABLE } from "./hpack-static-table.ts";

/** Put into the dynamic table when the same value comes again. */
export const INDEX_YES = 0;
/** As INDEX_YES, but seldom at the cost of another entry. */
export const INDEX_IF_ROOM = 1;
/** The value changes with each message: only the name is worth an entry. */
export const INDEX_NO = 2;
/** Secret: no table anywhere on the way may hold it (RFC 7541 section 7.1.3). */
export const INDEX_NEVER = 3;

/** What the encoder knows of a field name. */
export interface EncodedName {
  readonly name: string;
  /** Number of the name among all of these. */
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly policy: number;
  /** Lowest index of the name in the static table, or 0. */
  readonly index: number;
  /** Values that stand with the name in the static table, the first one at `index`. */
  readonly values: readonly string[];
}

const NEVER =
  "authorization proxy-authorization cookie set-cookie x-api-key x-auth-token x-csrf-token x-xsrf-token x-amz-security-token " +
  "authentication-info proxy-authentication-info";
const NO =
  "age b3 baggage content-length content-range date etag expires grpc-message grpc-timeout idempotency-key if-match " +
  "if-modified-since if-none-match if-range if-unmodified-since last-modified location range retry-after sec-websocket-accept " +
  "sec-websocket-key server-timing traceparent tracestate x-amzn-trace-id x-b3-parentspanid x-b3-spanid x-b3-traceid " +
  "x-correlation-id x-countersign-id x-ratelimit-remaining x-ratelimit-reset x-request-id x-response-time x-runtime";
const YES =
  ":protocol x-countersign-code x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-proto te user-agent grpc-status " +
  "grpc-encoding grpc-accept-encoding";

const byName = new Map<string, EncodedName>();
for (const name of NEVER.split(" ")) addName(name, INDEX_NEVER);
for (const name of NO.split(" ")) addName(name, INDEX_NO);
addName(":path", INDEX_IF_ROOM);
for (const name of YES.split(" ")) addName(name, INDEX_YES);
for (let index = 1; index < FIRST_DYNAMIC; index++) addName(STATIC_TABLE[index]?.name ?? "", INDEX_YES);

/** The names that the encoder knows. */
export const ENCODED_NAMES: ReadonlyMap<string, EncodedName> = byName;

function addName(name: string, policy: number): void {
  if (byName.has(name)) return;
  let index = 0;
  const values: string[] = [];
  STATIC_TABLE.forEach((entry, at) => {
    if (entry?.name !== name) return;
    if (index === 0) index = at;
    if (entry.value !== "") values.push(entry.value);
  });
  byName.set(name, { name, id: byName.size, bytes: new Uint8Array(Buffer.from(name)), policy, index, values });
}
