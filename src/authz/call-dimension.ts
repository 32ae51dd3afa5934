import type { IpAddress } from "../core/ip-address.ts";
import { addressBits } from "./address-bits.ts";
import type { CallView } from "./call-view.ts";
import { claimTexts } from "./claim-texts.ts";
import { joinedHeader, nextHeaderLine } from "./header-lines.ts";
import { FIELD_KINDS, type FieldKind, type FieldModel } from "./policy-model.ts";

/** Something of a call by which rules are found. */
export interface Dimension {
  readonly kind: FieldKind;
  /** Lower-case header name for kind "header", else "". */
  readonly header: string;
  /** For kind "claim": the names from the claims set inward. */
  readonly claim: readonly string[];
}

/** The name of a dimension: what fields of one name ask, one lookup answers. */
export function dimensionName({ kind, header, claim }: Pick<FieldModel, "kind" | "header" | "claim">): string {
  if (kind === "header") return `header:${header}`;
  return kind === "claim" ? `claim:${JSON.stringify(claim)}` : kind;
}

/** The dimension that has the name. Throws TypeError when there is none. */
export function dimensionOf(name: string): Dimension {
  const colon = name.indexOf(":");
  const [before, behind] = colon < 0 ? [name, ""] : [name.slice(0, colon), name.slice(colon + 1)];
  // Ours, not what came by a message: only texts of the program are compared by their place.
  const kind = FIELD_KINDS.find((one) => one === before);
  if (kind === undefined) throw new TypeError(`there is no dimension ${name}`);
  return {
    kind,
    header: kind === "header" ? behind : "",
    claim: kind === "claim" ? (JSON.parse(behind) as readonly string[]) : [],
  };
}

/** Writes the texts that a call has in a dimension of the index into `out` from `count` on, and returns the new count. Every text by which a
 *  field of that kind could match must be among them. */
export function collectTexts({ kind, header, claim }: Dimension, call: CallView, out: string[], count: number): number {
  const { connection, request } = call;
  switch (kind) {
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
    case "sni":
      // strict compares it without case, istio as it is.
      return addBoth(out, count, connection.sni, connection.sniName);
    case "host":
      return addBoth(out, count, call.host, call.hostName);
    case "method":
      return request === undefined ? count : add(out, count, request.method);
    case "path":
      return request === undefined ? count : add(out, count, request.path);
    case "header":
      return addHeader(header, call, out, count);
    case "requestPrincipal":
      return request?.identity === undefined ? count : add(out, count, request.identity.subject);
    case "audience":
      return request?.identity === undefined ? count : addTexts(out, count, request.identity.audiences);
    case "presenter":
      return request?.identity === undefined ? count : add(out, count, request.identity.presenter);
    case "claim":
      return request?.identity === undefined ? count : addAll(out, count, claimTexts(request.identity, claim));
  }
}

function add(out: string[], count: number, text: string): number {
  out[count] = text;
  return count + 1;
}

function addBoth(out: string[], count: number, text: string, other: string): number {
  const next = add(out, count, text);
  return other === text ? next : add(out, next, other);
}

function addAll(out: string[], count: number, texts: readonly string[]): number {
  let next = count;
  for (const text of texts) out[next++] = text;
  return next;
}

/** What is no text in a list that a token brought matches nothing. */
function addTexts(out: string[], count: number, values: readonly unknown[]): number {
  let next = count;
  for (const value of values) if (typeof value === "string") out[next++] = value;
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
