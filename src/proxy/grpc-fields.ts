import { fieldValue } from "./http1/field-value.ts";
import type { Fields, RequestHead } from "./http1/http1-events.ts";

const GRPC = "application/grpc";

/** Whether a media type is gRPC's own, with or without its `+proto` (gRPC over HTTP/2, section Requests). That of gRPC-Web is not: it is
 *  ordinary HTTP. */
export function isGrpcContent(type: string): boolean {
  if (!type.startsWith(GRPC)) return false;
  const next = type.charCodeAt(GRPC.length);
  return type.length === GRPC.length || next === 0x2b || next === 0x3b;
}

export function isGrpcRequest(head: RequestHead): boolean {
  const type = fieldValue(head.fields, "content-type");
  return type !== undefined && isGrpcContent(type);
}

/** The one `grpc-status` among the fields, or undefined where there is none or nonsense. */
export function grpcStatusIn(fields: Fields): number | undefined {
  const value = fieldValue(fields, "grpc-status");
  return value !== undefined && /^[0-9]{1,3}$/.test(value) ? Number(value) : undefined;
}

/** Service and method of a gRPC call's path, `/package.Service/Method`; undefined for any other path. */
export function grpcNames(path: string): { readonly service: string; readonly method: string } | undefined {
  const slash = path.indexOf("/", 1);
  if (slash <= 1 || slash === path.length - 1 || path.indexOf("/", slash + 1) !== -1) return undefined;
  return { service: path.slice(1, slash), method: path.slice(slash + 1) };
}
