import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { FieldGroup, FieldModel, RuleModel } from "../authz/policy-model.ts";
import { parseTextPattern } from "../authz/text-pattern.ts";
import { canonicalIpAddress } from "../core/ip-address.ts";
import { parseSpiffeId, type SpiffeId, spiffeIdProblem } from "../core/spiffe-id.ts";
import type { AskedCall } from "./asked-call.ts";
import { type Random, seededRandom } from "./seeded-random.ts";

/** What a call is made of while it is put together; texts as policies write them. */
interface Draft {
  principal: string | undefined;
  ip: string;
  remoteIp: string;
  destinationIp: string;
  destinationPrincipal: string | undefined;
  port: number | undefined;
  sni: string;
  method: string;
  host: string;
  path: string;
  headers: Map<string, string>;
  claims: Record<string, unknown> | undefined;
  tcp: boolean;
}

type Setter = (draft: Draft) => void;

const set =
  <K extends keyof Draft>(key: K, to: Draft[K]): Setter =>
  (draft) => {
    draft[key] = to;
  };

/** Calls that a set of policies can tell apart: each rule's own values, values beside them, and mixtures of both. The same policies and seed
 *  give the same calls. `count` is how many; a rule's own come first. */
export function* generateCalls(
  policies: readonly CompiledPolicy[],
  count: number,
  direction: "inbound" | "outbound",
  seed = 1,
): Generator<AskedCall> {
  const random = seededRandom(seed);
  const home =
    policies.map(({ options }) => options.localTrustDomain).find((name) => name !== undefined) ?? "example.org";
  const rules = policies.flatMap((policy) => policy.policies.flatMap((one) => one.rules));
  const fields = rules.flatMap(allFields);
  // What any rule looks at, to mix; and what no rule does.
  const setters = [...fields.flatMap((field) => settersOf(field, home)), ...COMMON.map((setter) => setter(home))];
  let left = count;
  for (const rule of rules) {
    for (const setter of [...neighbours(rule, home, random), NOTHING]) {
      if (left-- <= 0) return;
      const draft = draftOf(home);
      for (const field of oneOfEach(rule, random)) pick(settersOf(field, home), random)?.(draft);
      setter(draft);
      const call = callOf(draft, direction);
      if (call !== undefined) yield call;
    }
  }
  while (left-- > 0) {
    const draft = draftOf(home);
    for (let i = random(7); i >= 0; i--) pick(setters, random)?.(draft);
    const call = callOf(draft, direction);
    if (call !== undefined) yield call;
  }
}

const NOTHING: Setter = () => undefined;

const COMMON: readonly ((home: string) => Setter)[] = [
  () => (draft) => {
    draft.principal = undefined;
  },
  (home) => (draft) => {
    draft.principal = `${home}/ns/other/sa/other`;
  },
  () => (draft) => {
    draft.principal = "other.example/ns/other/sa/other";
  },
  ...["GET", "POST", "DELETE"].map((method) => () => (draft: Draft) => {
    draft.method = method;
  }),
  ...["/", "/other"].map((path) => () => (draft: Draft) => {
    draft.path = path;
  }),
  () => (draft) => {
    draft.path += "/x";
  },
  () => (draft) => {
    draft.path = draft.path.slice(0, Math.max(1, draft.path.lastIndexOf("/")));
  },
  () => (draft) => {
    draft.headers.clear();
  },
  () => (draft) => {
    draft.claims = undefined;
  },
  () => (draft) => {
    draft.tcp = true;
  },
];

function draftOf(home: string): Draft {
  return {
    principal: `${home}/ns/default/sa/default`,
    ip: "10.0.0.1",
    remoteIp: "10.0.0.1",
    destinationIp: "10.9.0.1",
    destinationPrincipal: undefined,
    port: undefined,
    sni: "",
    method: "GET",
    host: "app.example",
    path: "/",
    headers: new Map(),
    claims: undefined,
    tcp: false,
  };
}

function allFields(rule: RuleModel): readonly FieldModel[] {
  return [...rule.sources.flat(), ...rule.operations.flat(), ...rule.conditions];
}

/** One source, one operation and every condition: what a call must have to match. */
function oneOfEach(rule: RuleModel, random: Random): readonly FieldModel[] {
  const one = (groups: readonly FieldGroup[]): FieldGroup => pick(groups, random) ?? [];
  // Negated fields last have nothing to set: their values are what must not be there.
  return [...one(rule.sources), ...one(rule.operations), ...rule.conditions].filter(({ negated }) => !negated);
}

/** Each value of the rule, also of what it excludes, and one step beside it. */
function neighbours(rule: RuleModel, home: string, random: Random): readonly Setter[] {
  const own = allFields(rule).flatMap((field) => settersOf(field, home));
  // A field of 10 000 values must not use up the calls of all others.
  const some = own.length <= 32 ? own : Array.from({ length: 32 }, () => pick(own, random) ?? NOTHING);
  return [...some, ...COMMON.map((setter) => setter(home))];
}

function pick<T>(items: readonly T[], random: Random): T | undefined {
  return items.length === 0 ? undefined : items[random(items.length)];
}

/** How to give a call each value of a field. */
function settersOf(field: FieldModel, home: string): readonly Setter[] {
  return field.values.flatMap((value) => setterOf(field, value, home));
}

function setterOf(field: FieldModel, value: string, home: string): readonly Setter[] {
  const text = instance(value);
  switch (field.kind) {
    case "destinationPrincipal":
      return [set("destinationPrincipal", idLike(value, home))];
    case "requestPrincipal": {
      const slash = text.lastIndexOf("/");
      const iss = slash === -1 ? "https://issuer.example" : text.slice(0, slash);
      return [set("claims", { iss, sub: text.slice(slash + 1) })];
    }
    case "audience":
      return [claimSetter(["aud"], text)];
    case "presenter":
      return [claimSetter(["azp"], text)];
    case "claim":
      return [claimSetter(field.claim ?? [], text)];
    case "principal":
      return [set("principal", idLike(value, home))];
    case "namespace":
      return [set("principal", `${home}/ns/${value.replaceAll("*", "x")}/sa/any`)];
    case "serviceAccount": {
      const [namespace = "", name = ""] = value.split("/");
      return [set("principal", `${home}/ns/${namespace}/sa/${name}`)];
    }
    case "trustDomain":
      return [set("principal", `${text.toLowerCase()}/ns/default/sa/default`)];
    case "sourceIp":
      return [set("ip", inBlock(value)), set("remoteIp", inBlock(value))];
    case "remoteIp":
      return [set("remoteIp", inBlock(value))];
    case "destinationIp":
      return [set("destinationIp", inBlock(value))];
    case "port":
      return [set("port", Number(value))];
    case "sni":
      return [set("sni", text)];
    case "host":
      return [set("host", text), set("host", `${text}.`), set("host", `${text}:8443`)];
    case "method":
      return [set("method", text)];
    case "path":
      return pathInstances(value).map((path) => set("path", path));
    case "header":
      return [headerSetter(field.header, text)];
  }
}

/** Istio mode has rules about pseudo-headers, which are other parts of a call (`:scheme` follows from who calls). */
function headerSetter(name: string, text: string): Setter {
  switch (name) {
    case ":method":
      return set("method", text);
    case ":path":
      return set("path", text);
    case ":authority":
    case "host":
      return set("host", text);
    default:
      return (draft) => void draft.headers.set(name, text);
  }
}

/** Adds a claim to those that the call has, inside of others where the path says so. */
function claimSetter(path: readonly string[], value: string): Setter {
  return (draft) => {
    const claims = path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Record<string, unknown>;
    draft.claims = { iss: "https://issuer.example", sub: "someone", ...draft.claims, ...claims };
  };
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

/** `{*}` and `{**}` are filled; a star at an end becomes something, and nothing. */
function pathInstances(value: string): readonly string[] {
  if (value.includes("{*")) return ["a/b", ""].map((rest) => value.replaceAll("{**}", rest).replaceAll("{*}", "7"));
  const pattern = parseTextPattern(value);
  if (pattern.form === "any") return ["/any"];
  if (pattern.form === "prefix") return [pattern.text, `${pattern.text}x`];
  return pattern.form === "suffix" ? [`/x${pattern.text}`] : [pattern.text];
}

/** A principal that a value of `principals` matches, in the home trust domain where the star leaves that open. */
function idLike(value: string, home: string): string {
  const pattern = parseTextPattern(value);
  switch (pattern.form) {
    case "any":
      return `${home}/ns/any/sa/any`;
    case "exact":
      return pattern.text;
    case "prefix":
      return pattern.text.includes("/") ? `${pattern.text}x` : `${home}/ns/any/sa/any`;
    case "suffix": {
      const path = pattern.text.startsWith("/") ? pattern.text : `/x${pattern.text}`;
      return path.startsWith("/ns/") ? `${home}${path}` : `${home}/ns/any${path}`;
    }
  }
}

/** The first address of a block. */
function inBlock(value: string): string {
  return canonicalIpAddress(value.split("/")[0] ?? "") ?? "10.0.0.1";
}

function idOf(principal: string | undefined): SpiffeId | undefined {
  if (principal === undefined) return undefined;
  const id = `spiffe://${principal}`;
  return spiffeIdProblem(id) === undefined ? parseSpiffeId(id) : undefined;
}

function callOf(draft: Draft, direction: "inbound" | "outbound"): AskedCall | undefined {
  const spiffeId = idOf(draft.principal);
  // A value that no SPIFFE ID can match says nothing about real calls.
  if (draft.principal !== undefined && spiffeId === undefined) return undefined;
  const { ip, remoteIp, destinationIp, port, sni, method, host, path, headers, claims } = draft;
  return {
    direction,
    source: { spiffeId, ip, remoteIp },
    destination: { spiffeId: idOf(draft.destinationPrincipal), ip: destinationIp, port },
    sni,
    timeMs: undefined,
    request: draft.tcp ? undefined : { method, host, path, headers: [...headers].flat(), claims },
  };
}
