import type { IpAddress } from "../core/ip-address.ts";
import { addressBits } from "./address-bits.ts";
import type { CallView } from "./call-view.ts";
import { joinedHeader, nextHeaderLine } from "./header-lines.ts";

/** Writes the texts that a call has in a dimension of the index into `out` from `count` on, and returns the new count. Every text by which a
 *  field of that kind could match must be among them. */
export function collectTexts(dimension: string, header: string, call: CallView, out: string[], count: number): number {
  const { connection, request } = call;
  switch (dimension) {
    case "principal":
      return add(out, count, connection.principal);
    case "destinationPrincipal":
      return add(out, count, call.destination);
    case "trustDomain":
      return add(out, count, connection.trustDomain);
    case "namespace":
      return addAll(out, count, connection.namespaces);
    case "serviceAccount":
      return addAll(out, count, connection.accountNames);
    case "port":
      return add(out, count, connection.portText);
    case "sourceIp":
      return addAddress(out, count, connection.sourceIp);
    case "destinationIp":
      return addAddress(out, count, connection.destinationIp);
    case "remoteIp":
      return addAddress(out, count, call.remoteIp);
    case "host": {
      const next = add(out, count, call.host);
      return call.hostName === call.host ? next : add(out, next, call.hostName);
    }
    case "method":
      return request === undefined ? count : add(out, count, request.method);
    case "path":
      return request === undefined ? count : add(out, count, request.path);
    case "requestPrincipal":
      return request?.identity === undefined ? count : add(out, count, request.identity.subject);
    default:
      return addHeader(header, call, out, count);
  }
}

function add(out: string[], count: number, text: string): number {
  out[count] = text;
  return count + 1;
}

function addAll(out: string[], count: number, texts: readonly string[]): number {
  let next = count;
  for (const text of texts) out[next++] = text;
  return next;
}

/** Bits of an address are worked out once for each. */
const bitsOf = new WeakMap<IpAddress, string>();

function addAddress(out: string[], count: number, address: IpAddress | undefined): number {
  if (address === undefined) return count;
  let bits = bitsOf.get(address);
  if (bits === undefined) {
    bits = addressBits(address, 128);
    bitsOf.set(address, bits);
  }
  return add(out, count, bits);
}

/** Each line by itself and all of them joined: which one counts depends on the rule. */
function addHeader(header: string, { request }: CallView, out: string[], count: number): number {
  if (request === undefined) return count;
  const joined = joinedHeader(request, header);
  if (joined === undefined) return count;
  let next = add(out, count, joined);
  for (let at = nextHeaderLine(request, header, 0); at !== -1; at = nextHeaderLine(request, header, at + 1)) {
    const line = request.headers[at] ?? "";
    if (line !== joined) next = add(out, next, line);
  }
  return next;
}
