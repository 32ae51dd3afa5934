import type { CallFacts, ConnectionFacts, RequestFacts } from "../core/call-facts.ts";
import type { ConditionFault } from "../core/decision.ts";
import type { Peer } from "../core/identity.ts";
import { type IpAddress, parseIpAddress } from "../core/ip-address.ts";
import { principalOf } from "../core/spiffe-id.ts";
import { addressDigits } from "./address-digits.ts";
import { canonicalHost, hostWithoutPort } from "./host-name.ts";
import type { PolicyMode } from "./policy-options.ts";

/** The facts of a connection, taken apart once for all of its calls. */
export interface ConnectionView {
  readonly peer: Peer | undefined;
  /** Whether the caller proved an identity. Without one the texts below are empty. */
  readonly hasPeer: boolean;
  /** The SPIFFE ID without its scheme. */
  readonly principal: string;
  readonly trustDomain: string;
  /** Set when the ID has the form `<trust domain>/ns/<namespace>/sa/<service account>` exactly. */
  readonly kubernetes: { readonly namespace: string; readonly account: string } | undefined;
  /** The whole ID, in which namespaces and service accounts are looked for at any depth. */
  readonly id: string;
  /** Every segment after a segment `ns`, but for the last. */
  readonly namespaces: readonly string[];
  /** Every segment after a segment `sa`. */
  readonly accountNames: readonly string[];
  readonly sourceIp: IpAddress | undefined;
  readonly sourceIpText: string;
  readonly remoteIp: IpAddress | undefined;
  readonly remoteIpText: string;
  readonly destinationIp: IpAddress | undefined;
  readonly destinationIpText: string;
  /** It is still looked up, and the call decided anew then. */
  readonly addressPending: boolean;
  /** As the index looks them up; "" where there is no address. */
  readonly sourceDigits: string;
  readonly remoteDigits: string;
  readonly destinationDigits: string;
  readonly port: number;
  readonly portText: string;
  /** In lower case, as Envoy keeps it: a name has no case, and no caller is to choose how it is compared. */
  readonly sni: string;
  /** What fields about the connection alone have answered, for one set of policies. */
  answers: ConnectionAnswers | undefined;
}

/** By the matcher's place: 0 not asked yet, 1 no, 2 yes. */
export interface ConnectionAnswers {
  /** The set's rules: equal sets may give their matchers other places. */
  readonly rules: object;
  readonly byMatcher: Uint8Array;
}

/** One call as the matchers see it. */
export interface CallView {
  readonly connection: ConnectionView;
  /** undefined for TCP. */
  readonly request: RequestFacts | undefined;
  /** The authority as it is compared: lower case; strict: without a trailing dot. "" when no rule compares hosts. */
  readonly host: string;
  /** The same without its port. */
  readonly hostName: string;
  /** istio: what the same host is called as well, compared like `host`. */
  readonly otherHost: string | undefined;
  /** The client's address of this call. */
  readonly remoteIp: IpAddress | undefined;
  /** Outbound: the principal that the server must prove; "" when it need not. */
  readonly destination: string;
  /** `destination` is only the beginning: it stands for every principal that starts so. */
  readonly isOpen: boolean;
  readonly nowMs: number | undefined;
  /** Expressions that failed, if any did. */
  faults: ConditionFault[] | undefined;
}

const views = new WeakMap<ConnectionFacts, ConnectionView>();

/** `hosts`: how to compare hosts, or undefined when no rule does. `destination`: one of the facts' destinationPrincipals. */
export function viewCall(facts: CallFacts, hosts: PolicyMode | undefined, destination: string): CallView {
  const { connection, request } = facts;
  let view = views.get(connection);
  if (view === undefined) {
    view = viewConnection(connection);
    views.set(connection, view);
  }
  const host = request === undefined || hosts === undefined ? "" : canonicalHost(request.authority, hosts === "strict");
  const short = hosts === "istio" ? request?.shortAuthority : undefined;
  const own = request?.remoteIp;
  const isOpen = destination !== "" && destination.endsWith("*");
  return {
    connection: view,
    request,
    host,
    hostName: hostWithoutPort(host),
    otherHost: short === undefined ? undefined : canonicalHost(short, false),
    remoteIp: own === undefined || own === view.remoteIpText ? view.remoteIp : parseIpAddress(own),
    destination: isOpen ? destination.slice(0, -1) : destination,
    isOpen,
    nowMs: facts.nowMs,
    faults: undefined,
  };
}

function viewConnection(facts: ConnectionFacts): ConnectionView {
  const id = facts.peer?.spiffeId ?? "";
  // "spiffe:" and the empty part before the trust domain count as segments: `.*/ns/x/.*` may begin there.
  const segments = id.split("/");
  const after = (word: string, end: number) =>
    segments.slice(0, end).filter((_, i) => i > 1 && segments[i - 1] === word);
  const [, , , ns, namespace, sa, name] = segments;
  const [sourceIp, remoteIp, destinationIp] = [
    parseIpAddress(facts.sourceIp),
    parseIpAddress(facts.remoteIp),
    parseIpAddress(facts.destinationIp),
  ];
  const isKubernetes = segments.length === 7 && ns === "ns" && sa === "sa";
  return {
    peer: facts.peer,
    hasPeer: facts.peer !== undefined,
    principal: facts.peer === undefined ? "" : principalOf(facts.peer.spiffeId),
    trustDomain: facts.peer?.trustDomain ?? "",
    kubernetes: isKubernetes && namespace !== undefined ? { namespace, account: `${namespace}/${name}` } : undefined,
    id,
    namespaces: after("ns", segments.length - 1),
    accountNames: after("sa", segments.length),
    sourceIp,
    sourceIpText: facts.sourceIp,
    remoteIp,
    remoteIpText: facts.remoteIp,
    destinationIp,
    destinationIpText: facts.destinationIp,
    addressPending: facts.addressPending === true,
    sourceDigits: addressDigits(sourceIp),
    remoteDigits: addressDigits(remoteIp),
    destinationDigits: addressDigits(destinationIp),
    port: facts.destinationPort,
    portText: String(facts.destinationPort),
    sni: facts.sni.toLowerCase(),
    answers: undefined,
  };
}
