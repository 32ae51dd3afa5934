import type { NearestRule } from "../core/decision.ts";
import { formatIpAddress, type IpAddress } from "../core/ip-address.ts";
import { quoteJson } from "../core/safe-text.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledField, CompiledGroup, CompiledRule } from "./compiled-policy.ts";
import { joinedHeader } from "./header-lines.ts";
import { likelyRules, type RuleIndex } from "./rule-index.ts";

/** How many rules are compared: those that have something in common with the call, and the first ones. A denial by default must stay cheap, for any
 *  caller may cause it. */
const MAX_LIKELY = 96;
const MAX_FIRST = 256;
const MAX_TEXT = 256;

/** How far a rule is from matching: fewer failing fields are nearer, then more matching ones, then the earlier rule. */
interface Distance {
  failing: number;
  matching: number;
  first: CompiledField | undefined;
}

function addGroup(distance: Distance, group: CompiledGroup, call: CallView): void {
  for (const field of group) {
    if (field.matches(call)) distance.matching++;
    else {
      distance.failing++;
      distance.first ??= field;
    }
  }
}

function isNearer(a: Distance, b: Distance): boolean {
  return a.failing < b.failing || (a.failing === b.failing && a.matching > b.matching);
}

/** Of alternatives only the nearest counts. */
function addNearest(distance: Distance, groups: readonly CompiledGroup[], call: CallView): void {
  let best: Distance | undefined;
  for (const group of groups) {
    const candidate: Distance = { failing: 0, matching: 0, first: undefined };
    addGroup(candidate, group, call);
    if (best === undefined || isNearer(candidate, best)) best = candidate;
  }
  if (best === undefined) return;
  distance.failing += best.failing;
  distance.matching += best.matching;
  distance.first ??= best.first;
}

function distanceOf(rule: CompiledRule, call: CallView): Distance {
  const distance: Distance = { failing: 0, matching: 0, first: undefined };
  addNearest(distance, rule.sources, call);
  addNearest(distance, rule.operations, call);
  addGroup(distance, rule.conditions, call);
  return distance;
}

/** The ALLOW rule that came nearest to allowing a call which none allowed, with the first field that failed. Among more than 256
 *  rules there may be a nearer one. undefined when there is none to name. */
export function nearestRule(index: RuleIndex, call: CallView): NearestRule | undefined {
  let best: Distance | undefined;
  let nearest: CompiledRule | undefined;
  const consider = (rule: CompiledRule) => {
    const distance = distanceOf(rule, call);
    const isBetter =
      best === undefined ||
      nearest === undefined ||
      isNearer(distance, best) ||
      (!isNearer(best, distance) && rule.order < nearest.order);
    if (!isBetter) return;
    best = distance;
    nearest = rule;
  };
  const { rules } = index;
  if (rules.length > MAX_FIRST) for (const rule of likelyRules(index, call, MAX_LIKELY)) consider(rule);
  for (const rule of rules.length > MAX_FIRST ? rules.slice(0, MAX_FIRST) : rules) consider(rule);
  return describe(nearest, best, call);
}

function describe(
  nearest: CompiledRule | undefined,
  best: Distance | undefined,
  call: CallView,
): NearestRule | undefined {
  if (nearest === undefined || best === undefined) return undefined;
  const field = best.first ?? httpField(nearest);
  if (field === undefined) return undefined;
  return {
    rule: nearest.id,
    field: field.model.label,
    expected: shorten(`${field.model.negated ? "none of " : ""}${field.model.values.join(", ")}`),
    actual: shorten(actualText(field, call)),
  };
}

/** A rule that is dropped on TCP although the alternative that was tried would match: what drops it is its HTTP field. */
function httpField(rule: CompiledRule): CompiledField | undefined {
  const isHttp = ({ model: { kind } }: CompiledField) =>
    kind === "host" || kind === "method" || kind === "path" || kind === "header";
  return [...rule.operations.flat(), ...rule.conditions].find(isHttp);
}

function shorten(text: string): string {
  // Escaped as JSON without its quotes: nothing a peer sent can break a line or a terminal.
  const safe = quoteJson(text, MAX_TEXT).slice(1, -1);
  return safe.length > MAX_TEXT ? `${safe.slice(0, MAX_TEXT - 1).replace(/\\(?:u[0-9a-f]{0,3})?$/, "")}…` : safe;
}

function addressText(address: IpAddress | undefined): string {
  return address === undefined ? "no address" : formatIpAddress(address);
}

function actualText({ model }: CompiledField, call: CallView): string {
  const { connection, request } = call;
  switch (model.kind) {
    case "principal":
    case "namespace":
    case "serviceAccount":
      return connection.hasPeer ? connection.principal : "no identity";
    case "trustDomain":
      return connection.hasPeer ? connection.trustDomain : "no identity";
    case "sourceIp":
    case "remoteIp":
    case "destinationIp":
      return addressText(connection[model.kind]);
    case "port":
      return connection.portText;
    case "sni":
      return connection.sni === "" ? "no server name" : connection.sni;
    case "host":
      return request === undefined ? "no HTTP" : request.authority;
    case "method":
      return request === undefined ? "no HTTP" : request.method;
    case "path":
      return request === undefined ? "no HTTP" : request.path;
    case "header":
      // Header values may be secrets: only whether there is one.
      if (request === undefined) return "no HTTP";
      return joinedHeader(request, model.header) === undefined ? "no such header" : "another value";
  }
}
