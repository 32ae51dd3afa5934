import { byteText } from "../authz/byte-text.ts";
import { parseSpiffeId, type SpiffeId, spiffeIdProblem } from "../core/spiffe-id.ts";
import type { AskedCall } from "./asked-call.ts";

/** What a call is made of while it is put together; texts as policies write them. */
export interface Draft {
  /** undefined: no identity. */
  identity: DraftIdentity | undefined;
  /** Outbound: of the server. */
  destination: DraftIdentity | undefined;
  ip: string;
  remoteIp: string;
  destinationIp: string;
  port: number | undefined;
  sni: string;
  timeMs: number | undefined;
  method: string;
  host: string;
  path: string;
  /** Name and value; a name that comes again is another line. */
  headers: readonly (readonly [name: string, value: string])[];
  /** Header values go out in Latin-1 where they can, not in UTF-8. */
  latin1: boolean;
  claims: Record<string, unknown> | undefined;
  tcp: boolean;
}

/** Its parts can be changed apart from each other. */
export interface DraftIdentity {
  readonly trustDomain: string;
  /** With its slash, or "". */
  readonly path: string;
}

export type Setter = (draft: Draft) => void;

export function set<K extends keyof Draft>(key: K, to: Draft[K]): Setter {
  return (draft) => {
    draft[key] = to;
  };
}

/** One line of the header, in place of all others. */
export function setHeader(name: string, ...values: readonly string[]): Setter {
  return (draft) => {
    draft.headers = [
      ...draft.headers.filter(([other]) => other !== name),
      ...values.map((value) => [name, value] as const),
    ];
  };
}

/** Adds a claim to those that the call has, inside of others where the path says so. */
export function setClaim(path: readonly string[], value: unknown): Setter {
  return (draft) => {
    const claims = path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Record<string, unknown>;
    draft.claims = { iss: "https://issuer.example", sub: "someone", ...draft.claims, ...claims };
  };
}

/** `example.org/ns/shop/sa/web`. */
export function identityOf(principal: string): DraftIdentity {
  const slash = principal.indexOf("/");
  if (slash === -1) return { trustDomain: principal, path: "" };
  return { trustDomain: principal.slice(0, slash), path: principal.slice(slash) };
}

/** A call that hardly a rule means. */
export function newDraft(home: string): Draft {
  return {
    identity: { trustDomain: home, path: "/ns/some-namespace/sa/some-account" },
    destination: undefined,
    ip: "10.0.0.1",
    remoteIp: "10.0.0.1",
    destinationIp: "10.9.0.1",
    port: undefined,
    sni: "",
    timeMs: undefined,
    method: "GET",
    host: "app.example",
    path: "/",
    headers: [],
    latin1: false,
    claims: undefined,
    tcp: false,
  };
}

/** undefined: there is no such call. */
export function callOf(draft: Draft, direction: "inbound" | "outbound"): AskedCall | undefined {
  const spiffeId = idOf(draft.identity);
  // A value that no SPIFFE ID can match says nothing about real calls.
  if (draft.identity !== undefined && spiffeId === undefined) return undefined;
  const { ip, remoteIp, destinationIp, port, sni, timeMs, method, host, path, claims } = draft;
  const headers = draft.headers.flatMap(([name, value]) => [
    name,
    draft.latin1 && !/[^\0-\xff]/.test(value) ? value : byteText(value),
  ]);
  return {
    direction,
    source: { spiffeId, ip, remoteIp },
    destination: { spiffeId: idOf(draft.destination), ip: destinationIp, port },
    sni,
    timeMs,
    request: draft.tcp ? undefined : { method, host, path, headers, headersAreBytes: true, claims },
  };
}

function idOf(identity: DraftIdentity | undefined): SpiffeId | undefined {
  if (identity === undefined) return undefined;
  const id = `spiffe://${identity.trustDomain}${identity.path}`;
  return spiffeIdProblem(id) === undefined ? parseSpiffeId(id) : undefined;
}
