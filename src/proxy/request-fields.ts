import { newTraceparent, traceIdOf } from "./call-identifiers.ts";
import { isGrpcContent } from "./grpc-fields.ts";
import { HeadLines } from "./http1/head-lines.ts";
import { isHopByHop } from "./http1/hop-by-hop.ts";
import type { Fields } from "./http1/http1-events.ts";
import { APP_HTTP, HOPS, hopsOf, isIdentityField, XFCC } from "./identity-fields.ts";

/** What of a request's fields is known after one pass over them. */
export interface ScannedFields {
  /** What policy sees and the upstream gets: without identity fields, without those that Connection names. */
  readonly kept: Fields;
  /** The lines of `kept` as the upstream gets them: without those of the hop, with the replacements that were asked for. */
  readonly lines: HeadLines;
  /** All TE values that are kept, joined; undefined without any. */
  readonly te: string | undefined;
  readonly hops: number;
  readonly requestId: string | undefined;
  readonly traceparent: string | undefined;
  /** Trace id of `traceparent`, where that is a valid one. */
  readonly traceId: string | undefined;
  /** What `lines` have in place of an invalid traceparent. */
  readonly newTrace: string | undefined;
  /** All x-forwarded-for lines joined; undefined without any. */
  readonly forwardedFor: string | undefined;
  /** All x-forwarded-client-cert lines joined. */
  readonly clientCert: string | undefined;
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
  /** The calling sidecar says that its app speaks HTTP/1.1. */
  readonly fromHttp1App: boolean;
  /** The content is gRPC's (not that of gRPC-Web, which is ordinary HTTP). */
  readonly isGrpc: boolean;
}

/** Longest x-request-id that is kept; a longer one is replaced. */
const MAX_REQUEST_ID = 128;

/** Scans and filters a request's fields. `keepForwardedFor`: the peer is a trusted proxy. `authority`: what the upstream gets as Host,
 *  if not what came. */
export function scanRequestFields(
  fields: Fields,
  connectionNames: readonly string[],
  keepForwardedFor: boolean,
  authority?: string,
): ScannedFields {
  const { raw, lower } = fields;
  const lines = new HeadLines(fields);
  let te: string | undefined;
  let traceId: string | undefined;
  let newTrace: string | undefined;
  let hops = 0;
  let requestId: string | undefined;
  let traceparent: string | undefined;
  let forwardedFor: string | undefined;
  let clientCert: string | undefined;
  let origin: string | undefined;
  let fetchSite: string | undefined;
  let fromHttp1App = false;
  let isGrpc = false;
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
        if (traceparent !== undefined) keep = false;
        else {
          traceparent = value;
          traceId = traceIdOf(value);
          if (traceId === undefined) {
            newTrace = newTraceparent();
            lines.add(name, newTrace);
            keep = false;
          }
        }
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
      case "content-type":
        isGrpc = isGrpcContent(value);
        break;
      case APP_HTTP:
        fromHttp1App = value === "1";
        keep = false;
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
    if (!keep) lines.drop(i);
    else if (isHopByHop(name)) {
      lines.drop(i);
      if (name === "te") te = te === undefined ? value : `${te},${value}`;
    } else if (name === "host") lines.keepHost(i, authority);
    else lines.keep(i);
    if (!keep && keptRaw === undefined) {
      keptRaw = raw.slice(0, i * 2);
      keptLower = lower.slice(0, i);
    } else if (keep && keptRaw !== undefined && keptLower !== undefined) {
      keptRaw.push(raw[i * 2] ?? "", value);
      keptLower.push(name);
    }
  }
  const kept = keptRaw === undefined || keptLower === undefined ? fields : { raw: keptRaw, lower: keptLower };
  return {
    kept,
    lines,
    te,
    hops,
    requestId,
    traceparent,
    traceId,
    newTrace,
    forwardedFor,
    clientCert,
    origin,
    fetchSite,
    fromHttp1App,
    isGrpc,
  };
}

/** The lines of a response that are passed on: none of ours or of the hop. `except`: names of ours that a verified peer may send. */
export function responseLines(
  fields: Fields,
  connectionNames: readonly string[],
  except: ReadonlySet<string> | undefined,
): HeadLines {
  const { lower } = fields;
  const lines = new HeadLines(fields);
  for (let i = 0; i < lower.length; i++) {
    const name = lower[i] ?? "";
    if (isHopByHop(name) || (isIdentityField(name) && except?.has(name) !== true)) lines.drop(i);
    else if (connectionNames.length > 0 && connectionNames.includes(name)) lines.drop(i);
    else lines.keep(i);
  }
  return lines;
}

/** Trailers without identity fields, or undefined when none are left. */
export function safeTrailers(trailers: Fields): Fields | undefined {
  if (!trailers.lower.some(isIdentityField)) return trailers;
  const raw: string[] = [];
  const lower: string[] = [];
  for (let i = 0; i < trailers.lower.length; i++) {
    const name = trailers.lower[i] ?? "";
    if (isIdentityField(name)) continue;
    raw.push(trailers.raw[i * 2] ?? "", trailers.raw[i * 2 + 1] ?? "");
    lower.push(name);
  }
  return lower.length === 0 ? undefined : { raw, lower };
}
