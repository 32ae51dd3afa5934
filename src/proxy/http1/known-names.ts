import { TOKEN_LOWER } from "./byte-classes.ts";

/** What the codec itself does with a field; 0 for nothing. */
export const ROLE_NONE = 0;
export const ROLE_HOST = 1;
export const ROLE_CONTENT_LENGTH = 2;
export const ROLE_TRANSFER_ENCODING = 3;
export const ROLE_CONNECTION = 4;
export const ROLE_EXPECT = 5;
export const ROLE_UPGRADE = 6;
/** A name that some apps read as a framing field, since CGI turns `-` into `_`. */
export const ROLE_REFUSED = 7;

/** A field name that messages often carry, so that its strings need not be made anew for each of them. */
export interface KnownName {
  readonly lower: string;
  /** As most HTTP/1.1 programs write it: Content-Type. */
  readonly title: string;
  readonly lowerBytes: Uint8Array;
  readonly titleBytes: Uint8Array;
  readonly role: number;
}

const ROLES: Readonly<Record<string, number>> = {
  host: ROLE_HOST,
  "content-length": ROLE_CONTENT_LENGTH,
  "transfer-encoding": ROLE_TRANSFER_ENCODING,
  connection: ROLE_CONNECTION,
  expect: ROLE_EXPECT,
  upgrade: ROLE_UPGRADE,
  content_length: ROLE_REFUSED,
  transfer_encoding: ROLE_REFUSED,
};

const COMMON =
  "accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials access-control-allow-headers " +
  "access-control-allow-methods access-control-allow-origin access-control-expose-headers access-control-max-age " +
  "access-control-request-headers access-control-request-method age allow authorization b3 baggage cache-control content-disposition " +
  "content-encoding content-language content-location content-range content-security-policy content-type cookie date dnt etag " +
  "expires forwarded grpc-message grpc-status http2-settings idempotency-key if-match if-modified-since if-none-match if-range " +
  "if-unmodified-since keep-alive last-modified link location origin pragma priority proxy-authorization proxy-connection range " +
  "referer referrer-policy retry-after sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site " +
  "sec-fetch-user sec-websocket-accept sec-websocket-extensions sec-websocket-key sec-websocket-protocol sec-websocket-version " +
  "server server-timing set-cookie strict-transport-security te traceparent tracestate trailer upgrade-insecure-requests user-agent " +
  "vary via www-authenticate x-api-key x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid x-content-type-options " +
  "x-correlation-id x-countersign-code x-countersign-id x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port " +
  "x-forwarded-proto x-frame-options x-powered-by x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset x-real-ip x-request-id " +
  "x-requested-with x-xss-protection";

const BUCKETS = 1024;
const buckets: KnownName[][] = Array.from({ length: BUCKETS }, () => []);

function bucketOf(length: number, first: number, middle: number, last: number): number {
  return (length * 37 + first * 7 + middle * 131 + last * 61) & (BUCKETS - 1);
}

for (const lower of [...COMMON.split(" "), ...Object.keys(ROLES)]) {
  const title = lower.replace(/(?<=^|-)[a-z]/g, (letter) => letter.toUpperCase());
  const lowerBytes = new Uint8Array(Buffer.from(lower));
  const length = lowerBytes.length;
  const bucket = bucketOf(length, lowerBytes[0] ?? 0, lowerBytes[length >> 1] ?? 0, lowerBytes[length - 1] ?? 0);
  const titleBytes = new Uint8Array(Buffer.from(title));
  buckets[bucket]?.push({ lower, title, lowerBytes, titleBytes, role: ROLES[lower] ?? ROLE_NONE });
}

/** Looks names up in the bytes of a head. Its results are fields, so that a look-up allocates nothing. */
export class NameFinder {
  /** The known name that was found, or undefined. */
  known: KnownName | undefined = undefined;
  /** The name as it stands there if that is one of its two usual spellings, else "". */
  spelling = "";

  /** Looks for the name that stands, in any case, in the token `bytes[start … end)`, which is not empty. */
  find(bytes: Uint8Array, start: number, end: number): void {
    this.known = undefined;
    this.spelling = "";
    const length = end - start;
    const first = TOKEN_LOWER[bytes[start] as number] as number;
    const middle = TOKEN_LOWER[bytes[start + (length >> 1)] as number] as number;
    const last = TOKEN_LOWER[bytes[end - 1] as number] as number;
    const bucket = buckets[bucketOf(length, first, middle, last)] as KnownName[];
    for (let at = 0; at < bucket.length; at++) {
      const candidate = bucket[at] as KnownName;
      if (candidate.lowerBytes.length === length && this.#matches(bytes, start, candidate)) return;
    }
  }

  #matches(bytes: Uint8Array, start: number, candidate: KnownName): boolean {
    const { lowerBytes, titleBytes } = candidate;
    const { length } = lowerBytes;
    // The first letter tells which of the two usual spellings it can be: one comparison a byte for nearly every name.
    const isLower = bytes[start] === lowerBytes[0];
    const usual = isLower ? lowerBytes : titleBytes;
    let at = 0;
    while (at < length && bytes[start + at] === usual[at]) at++;
    const isUsual = at === length;
    while (at < length && TOKEN_LOWER[bytes[start + at] as number] === lowerBytes[at]) at++;
    if (at < length) return false;
    this.known = candidate;
    if (isUsual) this.spelling = isLower ? candidate.lower : candidate.title;
    return true;
  }
}
