import type { Fields } from "./http1/http1-events.ts";
import { HOPS, hopsOf, isIdentityField, XFCC } from "./identity-fields.ts";

/** What of a request's fields is known after one pass over them. */
export interface ScannedFields {
  /** What policy sees and the upstream gets: without identity fields, without those that Connection names. */
  readonly kept: Fields;
  readonly hops: number;
  readonly requestId: string | undefined;
  readonly traceparent: string | undefined;
  /** All x-forwarded-for lines joined; undefined without any. */
  readonly forwardedFor: string | undefined;
  /** All x-forwarded-client-cert lines joined. */
  readonly clientCert: string | undefined;
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
}

/** Longest x-request-id that is kept; a longer one is replaced. */
const MAX_REQUEST_ID = 128;

/** Scans and filters a request's fields. `keepForwardedFor`: the peer is a trusted proxy. */
export function scanRequestFields(
  fields: Fields,
  connectionNames: readonly string[],
  keepForwardedFor: boolean,
): ScannedFields {
  const { raw, lower } = fields;
  let hops = 0;
  let requestId: string | undefined;
  let traceparent: string | undefined;
  let forwardedFor: string | undefined;
  let clientCert: string | undefined;
  let origin: string | undefined;
  let fetchSite: string | undefined;
  let keptRaw: string[] | undefined;
  let keptLower: string[] | undefined;
  for (let i = 0; i < lower.length; i++) {
    const name = lower[i] ?? "";
    const value = raw[i * 2 + 1] ?? "";
    let keep = true;
    switch (name) {
      case "x-request-id":
        if (requestId !== undefined || value.length === 0 || value.length > MAX_REQUEST_ID) keep = false;
        else requestId = value;
        break;
      case "traceparent":
        if (traceparent === undefined) traceparent = value;
        else keep = false;
        break;
      case "x-forwarded-for":
        forwardedFor = forwardedFor === undefined ? value : `${forwardedFor},${value}`;
        keep = keepForwardedFor;
        break;
      case "x-forwarded-proto":
        keep = false;
        break;
      case "origin":
        origin ??= value;
        break;
      case "sec-fetch-site":
        fetchSite ??= value;
        break;
      case HOPS:
        hops = Math.max(hops, hopsOf(value));
        keep = false;
        break;
      case XFCC:
        clientCert = clientCert === undefined ? value : `${clientCert},${value}`;
        keep = false;
        break;
      default:
        if (isIdentityField(name)) keep = false;
    }
    if (keep && connectionNames.length > 0 && connectionNames.includes(name)) keep = false;
    if (!keep && keptRaw === undefined) {
      keptRaw = raw.slice(0, i * 2);
      keptLower = lower.slice(0, i);
    } else if (keep && keptRaw !== undefined && keptLower !== undefined) {
      keptRaw.push(raw[i * 2] ?? "", value);
      keptLower.push(name);
    }
  }
  const kept = keptRaw === undefined || keptLower === undefined ? fields : { raw: keptRaw, lower: keptLower };
  return { kept, hops, requestId, traceparent, forwardedFor, clientCert, origin, fetchSite };
}

/** Fields of a message without those that nobody may pass on. `except`: names that a verified peer may send. */
export function withoutIdentityFields(
  fields: Fields,
  connectionNames: readonly string[],
  except: ReadonlySet<string> | undefined,
): string[] {
  const { raw, lower } = fields;
  const kept: string[] = [];
  for (let i = 0; i < lower.length; i++) {
    const name = lower[i] ?? "";
    if (isIdentityField(name) && except?.has(name) !== true) continue;
    if (connectionNames.length > 0 && connectionNames.includes(name)) continue;
    kept.push(raw[i * 2] ?? "", raw[i * 2 + 1] ?? "");
  }
  return kept;
}

/** Trailers without identity fields, or undefined when none are left. */
export function safeTrailers(trailers: Fields): Fields | undefined {
  let unsafe = false;
  for (const name of trailers.lower) if (isIdentityField(name)) unsafe = true;
  if (!unsafe) return trailers;
  const raw = withoutIdentityFields(trailers, [], undefined);
  const lower = trailers.lower.filter((name) => !isIdentityField(name));
  return lower.length === 0 ? undefined : { raw, lower };
}
