import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { namesPort } from "../authz/host-name.ts";
import { destinationText, hostText, readTarget } from "../core/egress-target.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError } from "../core/errors.ts";
import type { AskedCall } from "./asked-call.ts";

const HTTP_PORT = 80;

/** Where a call through the egress proxy goes, as policies see it. */
export interface EgressPlace {
  /** `host:port`, in one spelling. */
  readonly authority: string;
  /** The same without its port, where an app may leave that out. */
  readonly shortAuthority: string | undefined;
  readonly port: number;
  /** "" for a name. */
  readonly ip: string;
}

/** Reads the host of a request as the egress proxy does, which gets all outbound requests but those to configured destinations. undefined: the
 *  request does not go through one, or nobody said where to. `outboundDefault`: of the call. */
export function egressPlace(
  { options }: CompiledPolicy,
  { direction, request, destination: { port } }: AskedCall,
  outboundDefault: "allow" | "deny",
): EgressPlace | { readonly refused: ErrorCode; readonly why: string } | undefined {
  const hasProxy = direction === "outbound" && options.tunnelPorts !== undefined && outboundDefault === "deny";
  if (!hasProxy || request?.host === undefined || request.host === "") return undefined;
  const { method, host } = request;
  const isTunnel = method === "CONNECT";
  const target = readTarget(host, port ?? (isTunnel ? undefined : HTTP_PORT));
  if (target instanceof CountersignError) return { refused: target.code, why: target.message };
  // in a URL for port 80, and for any in a tunnel
  const mayOmitPort = !isTunnel && (target.port === HTTP_PORT || !namesPort(host));
  return {
    authority: destinationText(target),
    shortAuthority: mayOmitPort ? hostText(target) : undefined,
    port: target.port,
    ip: target.isAddress ? target.host : "",
  };
}
