import { type FieldModel, isIdentity } from "../authz/policy-model.ts";
import { parseTextPattern } from "../authz/text-pattern.ts";
import { cidrSet } from "../core/cidr-set.ts";
import { parseCidr, parseIpAddress } from "../core/ip-address.ts";
import { addressSamples } from "./address-samples.ts";
import { type Draft, type DraftIdentity, identityOf, type Setter, set, setClaim, setHeader } from "./call-draft.ts";

/** How to give a call a value of a field, and what lies beside it: the first one matches. `home`: our own trust domain. */
export function valueSetters(field: FieldModel, value: string, home: string): readonly Setter[] {
  const text = instance(value);
  switch (field.kind) {
    case "destinationPrincipal":
      return identities(value, home).map((identity) => set("destination", identity));
    case "requestPrincipal": {
      const slash = text.lastIndexOf("/");
      const iss = slash === -1 ? "https://issuer.example" : text.slice(0, slash);
      return [set("claims", { iss, sub: text.slice(slash + 1) })];
    }
    case "audience":
      return [setClaim(["aud"], text)];
    case "presenter":
      return [setClaim(["azp"], text)];
    case "claim":
      return [setClaim(field.claim ?? [], text), setClaim(field.claim ?? [], ["other", text])];
    case "principal":
      return identities(value, home).map((identity) => set("identity", identity));
    case "namespace":
      return [pathSetter(`/ns/${value.replaceAll("*", "x")}/sa/any`, home)];
    case "serviceAccount": {
      const [namespace = "", name = ""] = value.split("/");
      return [pathSetter(`/ns/${namespace}/sa/${name}`, home)];
    }
    case "trustDomain":
      return [trustDomainSetter(text.toLowerCase())];
    case "sourceIp":
      return addressSamples(value).map((ip) => (draft) => {
        draft.ip = ip;
        draft.remoteIp = ip;
      });
    case "remoteIp":
      return addressSamples(value).map((ip) => set("remoteIp", ip));
    case "destinationIp":
      return addressSamples(value).map((ip) => set("destinationIp", ip));
    case "port":
      return [set("port", Number(value))];
    case "sni":
      return [...new Set([text, text.toLowerCase()])].map((name) => set("sni", name));
    case "host":
      return [text, `${text}.`, `${text}:8443`].map((host) => set("host", host));
    case "method":
      return [set("method", text)];
    case "path":
      return pathInstances(value).map((path) => set("path", path));
    case "header":
      return headerSetters(field.header, text);
  }
}

/** Keeps a field that must not match from matching, where what a draft has by itself would. */
export function avoiding(field: FieldModel): Setter {
  const { kind, values } = field;
  const avoid = (candidates: readonly string[], key: "ip" | "remoteIp" | "destinationIp"): Setter => {
    const blocks = cidrSet(values.map(parseCidr).filter((block) => block !== undefined));
    const isOutside = (text: string) => {
      const address = parseIpAddress(text);
      return address !== undefined && !blocks.has(address);
    };
    return (draft) => {
      if (!isOutside(draft[key])) draft[key] = candidates.find(isOutside) ?? draft[key];
    };
  };
  const outside = () => ["192.0.2.1", "203.0.113.7", "2001:db8::7", ...values.slice(0, 16).flatMap(addressSamples)];
  if (kind === "sourceIp") return avoid(outside(), "ip");
  if (kind === "remoteIp" || kind === "destinationIp") return avoid(outside(), kind);
  if (kind === "method")
    return (draft) => {
      if (values.includes(draft.method))
        draft.method = METHODS.find((method) => !values.includes(method)) ?? draft.method;
    };
  if (kind === "path")
    return (draft) => {
      if (values.includes(draft.path)) draft.path = `${draft.path === "/" ? "" : draft.path}/other`;
    };
  // Nobody else is meant by a rule that takes everybody with an identity away.
  return isIdentity(kind) && values.includes("*") ? set("identity", undefined) : () => undefined;
}

const METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/** Another trust domain with the rest of the identity as it is. */
export function trustDomainSetter(trustDomain: string): Setter {
  return (draft) => {
    draft.identity = { path: "/ns/some-namespace/sa/some-account", ...draft.identity, trustDomain };
  };
}

/** Another path with the trust domain as it is. */
export function pathSetter(path: string, home: string): Setter {
  return (draft) => {
    draft.identity = { trustDomain: home, ...draft.identity, path };
  };
}

/** Istio mode has rules about pseudo-headers, which are other parts of a call (`:scheme` follows from who calls). */
export function headerSetters(name: string, text: string): readonly Setter[] {
  switch (name) {
    case ":method":
      return [set("method", text)];
    case ":path":
      return [set("path", text)];
    case ":authority":
    case "host":
      return [text, text.toUpperCase(), `${text}:8443`, `${text}.`].map((host) => set("host", host));
    default: {
      const latin1 = (draft: Draft) => {
        setHeader(name, text)(draft);
        draft.latin1 = true;
      };
      const lines = [setHeader(name, text), setHeader(name, text, "other"), setHeader(name, "other", text)];
      return /[\x80-\xff]/.test(text) ? [...lines, latin1] : lines;
    }
  }
}

/** A text that the pattern matches. */
function instance(value: string): string {
  const pattern = parseTextPattern(value);
  switch (pattern.form) {
    case "any":
      return "x";
    case "exact":
      return pattern.text;
    case "prefix":
      return `${pattern.text}x`;
    case "suffix":
      return `x${pattern.text}`;
  }
}

/** `{*}` and `{**}` are filled, also with what only strict takes for one segment; a star at an end becomes something, and nothing. */
function pathInstances(value: string): readonly string[] {
  if (value.includes("{*"))
    return [
      ["7", "a/b"],
      ["7", ""],
      ["[7]", "[a]"],
    ].map(([one = "", rest = ""]) => value.replaceAll("{**}", rest).replaceAll("{*}", one));
  const pattern = parseTextPattern(value);
  if (pattern.form === "any") return ["/any"];
  if (pattern.form === "prefix") return [pattern.text === "" ? "/" : pattern.text, `${pattern.text}x`];
  return pattern.form === "suffix" ? [`/x${pattern.text}`] : [pattern.text];
}

/** Identities that a value of `principals` matches, in the home trust domain where the star leaves that open, then in another. */
function identities(value: string, home: string): readonly DraftIdentity[] {
  const filled = value.replaceAll("{**}", "a/b").replaceAll("{*}", "7");
  const pattern = parseTextPattern(filled.replace(/^cluster\.local(?=\/)/, home));
  switch (pattern.form) {
    case "any":
      return [identityOf(`${home}/ns/any/sa/any`)];
    case "exact":
      return [identityOf(pattern.text)];
    case "prefix":
      if (pattern.text.includes("/")) return [identityOf(`${pattern.text}x`), identityOf(pattern.text)];
      return [`${home}/ns/any/sa/any`, `${pattern.text}x/ns/any/sa/any`].map(identityOf);
    case "suffix": {
      const slash = pattern.text.indexOf("/");
      const path = slash === -1 ? `/x${pattern.text}` : pattern.text.slice(slash);
      const whole = path.startsWith("/ns/") || slash > 0 ? path : `/ns/any${path}`;
      const found = [{ trustDomain: home, path: whole }];
      return slash > 0 ? [...found, { trustDomain: `x${pattern.text.slice(0, slash)}`, path }] : found;
    }
  }
}
