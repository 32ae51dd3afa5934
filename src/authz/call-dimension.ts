import { addressDigits } from "./address-digits.ts";
import type { CallView } from "./call-view.ts";
import { claimTexts } from "./claim-texts.ts";
import { isPseudoHeader, joinedHeader, lineJoints, nextHeaderLine, otherSpelling } from "./header-lines.ts";
import { FIELD_KINDS, type FieldKind } from "./policy-model.ts";

/** What texts a call is asked for: those of a kind of fields, or, where a field's meaning depends on more than its kind, just those that it
 *  compares. */
type DimensionKind = FieldKind | (typeof NARROW_KINDS)[number];

const NARROW_KINDS = [
  /** Of an ID of Kubernetes form, in some trust domains. */
  "kubernetesNamespace",
  "kubernetesAccount",
  /** Without its port. */
  "hostName",
  /** With it. */
  "hostAndPort",
  /** Each line, but not what they are together. */
  "headerLine",
  /** Only one that came on a single line. */
  "headerAlone",
  "issuer",
] as const;
const KINDS: readonly DimensionKind[] = [...FIELD_KINDS, ...NARROW_KINDS];

/** Something of a call by which rules are found. */
export interface Dimension {
  readonly kind: DimensionKind;
  /** Lower-case header name for headers, else "". */
  readonly header: string;
  /** For kind "claim": the names from the claims set inward. */
  readonly claim: readonly string[];
  /** Where IDs of Kubernetes form count; undefined: in any trust domain. */
  readonly trustDomains: ReadonlySet<string> | undefined;
}

/** The name of a dimension: what fields of one name ask, one lookup answers. `of` tells dimensions of a kind apart. */
export function dimensionName(kind: DimensionKind, of: string | readonly string[] = ""): string {
  if (of === "") return kind;
  return `${kind}:${typeof of === "string" ? of : JSON.stringify(of)}`;
}

/** Of the dimension with the name. Throws TypeError when there is none. */
export function dimensionKind(name: string): DimensionKind {
  const [before] = name.split(":", 1);
  // Ours, not what came by a message: only texts of the program are compared by their place.
  const kind = KINDS.find((one) => one === before);
  if (kind === undefined) throw new TypeError(`there is no dimension ${name}`);
  return kind;
}

/** The dimension that has the name. Throws TypeError when there is none. */
export function dimensionOf(name: string): Dimension {
  const kind = dimensionKind(name);
  const of = name.slice(kind.length + 1);
  const listed = (): readonly string[] => JSON.parse(of) as readonly string[];
  const isKubernetes = kind === "kubernetesNamespace" || kind === "kubernetesAccount";
  return {
    kind,
    header: kind === "header" || kind === "headerLine" || kind === "headerAlone" ? of : "",
    claim: kind === "claim" ? listed() : [],
    trustDomains: isKubernetes && of !== "" ? new Set(listed()) : undefined,
  };
}

/** Writes the texts that a call has in a dimension of the index into `out` from `count` on, and returns the new count. Every text by which a
 *  field of that kind could match must be among them. */
export function collectTexts(dimension: Dimension, call: CallView, out: string[], count: number): number {
  const { kind, header } = dimension;
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
    case "kubernetesNamespace":
    case "kubernetesAccount": {
      const { kubernetes, trustDomain } = connection;
      if (kubernetes === undefined || dimension.trustDomains?.has(trustDomain) === false) return count;
      return add(out, count, kind === "kubernetesNamespace" ? kubernetes.namespace : kubernetes.account);
    }
    case "port":
      return add(out, count, connection.portText);
    case "sourceIp":
      return addAddress(out, count, connection.sourceDigits);
    case "destinationIp":
      return addAddress(out, count, connection.destinationDigits);
    case "remoteIp":
      return addAddress(
        out,
        count,
        call.remoteIp === connection.remoteIp ? connection.remoteDigits : addressDigits(call.remoteIp),
      );
    case "sni":
      return add(out, count, connection.sni);
    case "host":
      return addBoth(out, count, call.host, call.hostName);
    case "hostName":
      return add(out, count, call.hostName);
    case "hostAndPort":
      return addBoth(out, count, call.host, call.otherHost ?? call.host);
    case "method":
      return request === undefined ? count : add(out, count, request.method);
    case "path":
      return request === undefined ? count : add(out, count, request.path);
    case "header":
    case "headerLine":
    case "headerAlone":
      return addHeader(kind, header, call, out, count);
    case "issuer":
      return request?.identity === undefined ? count : add(out, count, request.identity.issuer);
    case "requestPrincipal":
      return request?.identity === undefined ? count : add(out, count, request.identity.subject);
    case "audience":
      return request?.identity === undefined ? count : addTexts(out, count, request.identity.audiences);
    case "presenter":
      return request?.identity === undefined ? count : add(out, count, request.identity.presenter);
    case "claim":
      return request?.identity === undefined
        ? count
        : addAll(out, count, claimTexts(request.identity, dimension.claim));
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

/** None where no address is known. */
function addAddress(out: string[], count: number, digits: string): number {
  return digits === "" ? count : add(out, count, digits);
}

/** Each line by itself, and all of them joined in each way, but for lines that count by themselves or alone only. */
function addHeader(
  kind: "header" | "headerLine" | "headerAlone",
  header: string,
  { request }: CallView,
  out: string[],
  count: number,
): number {
  if (request === undefined) return count;
  const first = isPseudoHeader(header) ? -1 : nextHeaderLine(request, header, 0);
  const second = first === -1 ? -1 : nextHeaderLine(request, header, first + 1);
  if (second === -1) {
    const only = joinedHeader(request, header);
    if (only === undefined) return count;
    // as istio mode reads headers
    const other = kind === "headerLine" ? otherSpelling(request, header) : undefined;
    return addBoth(out, count, only, other ?? only);
  }
  if (kind === "headerAlone") return count;
  let next = count;
  if (kind === "header")
    for (const joint of lineJoints(header)) next = add(out, next, joinedHeader(request, header, joint) ?? "");
  for (let at = first; at !== -1; at = nextHeaderLine(request, header, at + 1))
    next = add(out, next, request.headers[at] ?? "");
  return next;
}
