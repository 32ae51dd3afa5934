import { type Draft, type Setter, set } from "./call-draft.ts";
import { pathSetter, trustDomainSetter } from "./field-setters.ts";

/** A partner that policies may or may not let in. */
const FOREIGN = "partner.example";

/** What can be changed about any call, and what strict and istio mode take differently: none, foreign and misshapen identities, paths in another
 *  spelling, headers on several lines, other forms of a host, TCP, plaintext and TLS without a certificate. */
export function oddSetters(home: string, aliases: readonly string[]): readonly Setter[] {
  return [
    nobody(""),
    nobody("app.example"),
    ...[FOREIGN, ...aliases].map(trustDomainSetter),
    pathSetter("/ns/other/sa/other", home),
    ...[(path: string) => `/x${path}`, (path: string) => `${path}/x`].map(onIdentity),
    ...["GET", "POST", "PUT", "DELETE", "HEAD"].map((method) => set("method", method)),
    ...["/", "/other"].map((path) => set("path", path)),
    ...PATHS.map(onPath),
    onHost((host) => host.toUpperCase()),
    onHost((host) => `${host}.`),
    onHost((host) => `${host}:8443`),
    onHost((host) => host.replace(/:\d+$/, "")),
    set("host", "other.example"),
    ...HEADERS.map(onHeaders),
    set("headers", []),
    set("claims", undefined),
    ...["203.0.113.9", "2001:db8::9"].map((ip) => (draft: Draft) => {
      draft.ip = ip;
      draft.remoteIp = ip;
    }),
    ...[FOREIGN, home].map((trustDomain) => (draft: Draft) => {
      draft.destination = { path: "/ns/other/sa/other", ...draft.destination, trustDomain };
    }),
    set("destination", undefined),
    set("tcp", true),
  ];
}

/** `sni`: without one the caller sends plaintext, with one it makes a handshake and shows no certificate. */
function nobody(sni: string): Setter {
  return (draft) => {
    draft.identity = undefined;
    draft.sni ||= sni;
    if (sni === "") draft.sni = "";
  };
}

function onIdentity(change: (path: string) => string): Setter {
  return (draft) => {
    if (draft.identity !== undefined) draft.identity = { ...draft.identity, path: change(draft.identity.path) };
  };
}

/** Spellings that normalisation undoes, that it refuses, or that some apps read as another path. */
const PATHS: readonly ((path: string) => string)[] = [
  (path) => `${path}/x`,
  (path) => path.slice(0, Math.max(1, path.lastIndexOf("/"))),
  (path) => `${path}/`,
  (path) => `/${path}`,
  (path) => replaceLastSlash(path, "//"),
  (path) => replaceLastSlash(path, "%2F"),
  (path) => replaceLastSlash(path, "%5C"),
  (path) => replaceLastSlash(path, "\\"),
  (path) => replaceLastSlash(path, "/./"),
  (path) => `/x/..${path}`,
  (path) => `/x/..;y${path}`,
  (path) => `${path}//x`,
  (path) => `${path}%2Fx`,
  (path) => `${path};v=1`,
  (path) => `${path};v=1/x`,
  (path) => replaceLastSlash(path, ";v=1/"),
  (path) => path.replace(/[A-Za-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
  (path) => `${path}%zz`,
  (path) => `${path}"`,
  (path) => `${path}[`,
  (path) => path.toUpperCase(),
  (path) => `${path}?x=1`,
];

function replaceLastSlash(path: string, by: string): string {
  const slash = path.lastIndexOf("/");
  return `${path.slice(0, slash)}${slash === 0 ? "/x" : ""}${by}${path.slice(slash + 1)}`;
}

function onPath(change: (path: string) => string): Setter {
  return (draft) => {
    draft.path = change(draft.path);
  };
}

function onHost(change: (host: string) => string): Setter {
  return (draft) => {
    draft.host = change(draft.host);
  };
}

const HEADERS: readonly ((headers: Draft["headers"]) => Draft["headers"])[] = [
  (headers) => headers.flatMap(([name, value]) => [[name, value] as const, [name, "other"] as const]),
  (headers) => headers.flatMap(([name, value]) => [[name, "other"] as const, [name, value] as const]),
  (headers) => headers.map(([name, value]) => [name, `${value}x`] as const),
  (headers) => headers.map(([name, value]) => [name, value.toUpperCase()] as const),
];

function onHeaders(change: (headers: Draft["headers"]) => Draft["headers"]): Setter {
  return (draft) => {
    draft.headers = change(draft.headers);
  };
}
