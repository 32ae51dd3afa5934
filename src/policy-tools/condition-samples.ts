import type { ASTNode, Environment } from "@marcbachmann/cel-js";
import { celLibraries } from "../authz/cel-libraries.ts";
import { addressSamples } from "./address-samples.ts";
import { identityOf, type Setter, set, setClaim } from "./call-draft.ts";
import { headerSetters, pathSetter, trustDomainSetter } from "./field-setters.ts";
import { patternSamples } from "./pattern-samples.ts";

/** What an expression compares. */
export interface ConditionSamples {
  /** For each attribute that it compares: the setters of values that it may want to be equal. */
  readonly wanted: readonly (readonly Setter[])[];
  /** Those, values beside them, and times of day, week and year where it looks at the time. */
  readonly all: readonly Setter[];
}

type Literal = string | bigint | boolean;

/** An attribute beside the literals that stand in one comparison with it. */
interface Comparison {
  readonly attribute: readonly string[];
  readonly literals: readonly Literal[];
  /** The literal is a part of the text, a bound of the number, or a member of the collection. */
  readonly inexact: boolean;
  /** Being equal may make it true. */
  readonly wanted: boolean;
}

const MAX_SETTERS = 400;

/** Types were checked when the policy was loaded. */
let parser: Environment | undefined;

/** Makes calls of an expression's own literals: what it compares them with gets them as values. The expression was checked. */
export function conditionSamples(text: string, home: string): ConditionSamples {
  parser ??= new (celLibraries().Environment)({ unlistedVariablesAreDyn: true });
  const { ast } = parser.parse(text);
  const comparisons: Comparison[] = [];
  look(ast, comparisons);
  const wanted = new Map<string, Setter[]>();
  const all: Setter[] = [];
  let asksTime = false;
  for (const { attribute, literals, inexact, wanted: isWanted } of comparisons) {
    asksTime ||= attribute[0] === "time";
    const setters = literals.flatMap((literal) => {
      if (attribute[0] === "time") return typeof literal === "string" ? timesAround(literal) : [];
      const values = inexact ? [literal, ...beside(literal)] : [literal];
      return values.flatMap((value) => attributeSetters(attribute, value, home));
    });
    all.push(...setters);
    const key = attribute.join("\n");
    if (isWanted) wanted.set(key, [...(wanted.get(key) ?? []), ...setters].slice(0, MAX_SETTERS));
  }
  const times = asksTime ? SAMPLE_TIMES.map((timeMs) => set("timeMs", timeMs)) : [];
  return {
    wanted: [...wanted.values(), times].filter((setters) => setters.length > 0),
    all: [...all.slice(0, MAX_SETTERS), ...times],
  };
}

const COMPARING: ReadonlySet<string> = new Set(["==", "!=", "<", "<=", ">", ">=", "in"]);

function look(node: ASTNode, found: Comparison[]): void {
  const attribute = attributeOf(node);
  if (attribute !== undefined) {
    // Asked by itself: a bool, or whether it is there.
    const isNamed = attribute[1] === "headers" || attribute[2] === "claims";
    found.push({ attribute, literals: ["x", true], inexact: false, wanted: isNamed });
    return;
  }
  if (COMPARING.has(node.op) || node.op === "rcall") {
    const attributes: (readonly string[])[] = [];
    const literals: Literal[] = [];
    collect(node, attributes, literals);
    const isPattern = node.op === "rcall" && node.args[0] === "matches";
    if (isPattern) literals.push(...literals.splice(0).flatMap((one) => patternSamples(String(one))));
    const inexact = node.op !== "==" && node.op !== "!=" && node.op !== "in";
    for (const one of attributes) found.push({ attribute: one, literals, inexact, wanted: node.op !== "!=" });
    return;
  }
  for (const inner of nodesOf(node.args)) look(inner, found);
}

/** Every attribute and literal below. */
function collect(node: ASTNode, attributes: (readonly string[])[], literals: Literal[]): void {
  const attribute = attributeOf(node);
  if (attribute !== undefined) {
    attributes.push(attribute);
    return;
  }
  if (node.op === "value") {
    const value: unknown = node.args;
    if (typeof value === "string" || typeof value === "bigint" || typeof value === "boolean") literals.push(value);
    else if (typeof value === "number") literals.push(BigInt(Math.trunc(value)));
  }
  for (const inner of nodesOf(node.args)) collect(inner, attributes, literals);
}

function nodesOf(value: unknown): readonly ASTNode[] {
  if (Array.isArray(value)) return (value as readonly unknown[]).flatMap(nodesOf);
  return isNode(value) ? [value] : [];
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === "object" && value !== null && "op" in value && "args" in value;
}

const ROOTS: ReadonlySet<string> = new Set(["source", "request", "connection", "destination", "time"]);

/** `request.headers['x-a']` as its names. */
function attributeOf(node: ASTNode): readonly string[] | undefined {
  if (node.op === "id") return ROOTS.has(node.args) ? [node.args] : undefined;
  if (node.op !== "." && node.op !== "[]") return undefined;
  const [of, name] = node.args;
  const outer = attributeOf(of);
  const inner: unknown = typeof name === "string" ? name : name.op === "value" ? name.args : undefined;
  return outer === undefined || typeof inner !== "string" ? undefined : [...outer, inner];
}

function attributeSetters(attribute: readonly string[], literal: Literal, home: string): readonly Setter[] {
  const [root, field, ...rest] = attribute;
  const text = String(literal);
  switch (`${root ?? ""}.${field ?? ""}`) {
    case "request.method":
      return [set("method", text)];
    case "request.host":
      return [set("host", text)];
    case "request.path":
      return [set("path", text.startsWith("/") ? text : `/${text}`)];
    case "request.headers":
      return rest[0] === undefined ? headerSetters(text, "x") : headerSetters(rest[0].toLowerCase(), text);
    case "request.auth":
      return tokenSetters(rest, literal);
    case "source.principal":
    case "source.spiffeId":
      return [set("identity", identityOf(text.replace(/^spiffe:\/\//, "")))];
    case "source.namespace":
      return [pathSetter(`/ns/${text}/sa/any`, home)];
    case "source.serviceAccount":
      return [
        (draft) => {
          const namespace = /^\/ns\/([^/]+)\/sa\//.exec(draft.identity?.path ?? "")?.[1] ?? "any";
          pathSetter(`/ns/${namespace}/sa/${text}`, home)(draft);
        },
      ];
    case "source.trustDomain":
      return [trustDomainSetter(text)];
    case "source.path":
      return [pathSetter(text, home)];
    case "source.authenticated":
      return [set("identity", undefined)];
    case "source.ip":
      return addressSamples(text).map((ip) => (draft) => {
        draft.ip = ip;
        draft.remoteIp = ip;
      });
    case "source.remoteIp":
      return addressSamples(text).map((ip) => set("remoteIp", ip));
    case "connection.sni":
      return [set("sni", text)];
    case "connection.destinationIp":
      return addressSamples(text).map((ip) => set("destinationIp", ip));
    case "connection.destinationPort":
      return /^\d{1,5}$/.test(text) && Number(text) <= 65_535 ? [set("port", Number(text))] : [];
    case "destination.principal":
      return [set("destination", identityOf(text))];
    default:
      return [];
  }
}

function tokenSetters([field = "", ...path]: readonly string[], literal: Literal): readonly Setter[] {
  const text = String(literal);
  const value = typeof literal === "bigint" ? Number(literal) : literal;
  switch (field) {
    case "subject":
      return [setClaim(["sub"], text)];
    case "issuer":
      return [setClaim(["iss"], text)];
    case "audiences":
      return [setClaim(["aud"], [text])];
    case "presenter":
      return [setClaim(["azp"], text)];
    case "authenticated":
      return [setClaim(["sub"], "someone"), set("claims", undefined)];
    case "claims":
      return path.length === 0 ? [setClaim([text], "x")] : [setClaim(path, value), setClaim(path, [value])];
    default:
      return [];
  }
}

function beside(literal: Literal): readonly Literal[] {
  if (typeof literal === "bigint") return [literal - 1n, literal + 1n];
  return typeof literal === "string" ? [`${literal}x`, `x${literal}`, `x${literal}x`] : [];
}

function timesAround(text: string): readonly Setter[] {
  const time = Date.parse(text);
  return Number.isNaN(time) ? [] : [time - 1000, time, time + 1000].map((timeMs) => set("timeMs", timeMs));
}

const HOUR_MS = 3_600_000;
/** A Monday at half past midnight, UTC. */
const MONDAY_MS = Date.UTC(2030, 0, 7, 0, 30);

/** Each hour of a day, each day of a week and each month of a year. */
const SAMPLE_TIMES: readonly number[] = [
  ...Array.from({ length: 24 }, (_, hour) => MONDAY_MS + hour * HOUR_MS),
  ...Array.from({ length: 7 }, (_, day) => MONDAY_MS + (day * 24 + 12) * HOUR_MS),
  ...Array.from({ length: 12 }, (_, month) => Date.UTC(2030, month, 1, 12, 30)),
];
