import type { RequestFacts } from "../core/call-facts.ts";
import type { NearestRule } from "../core/decision.ts";
import { formatIpAddress, type IpAddress } from "../core/ip-address.ts";
import { quoteJson } from "../core/safe-text.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledField, CompiledGroup, CompiledRule } from "./compiled-policy.ts";
import { isPseudoHeader, joinedHeader, nextHeaderLine } from "./header-lines.ts";
import { type FieldModel, isHttpOnly } from "./policy-model.ts";
import { likelyRules, type RuleIndex, rulesOf } from "./rule-index.ts";

/** How many rules are compared: all of a small set, of a large one those that have something in common with the call. A denial by default must
 *  stay cheap, for any caller may cause it. */
const MAX_RULES = 24;
const MAX_TEXT = 256;

/** How far a rule is from matching: fewer failing fields are nearer, then more matching ones, then the earlier rule. */
interface Distance {
  failing: number;
  matching: number;
  first: CompiledField | undefined;
}

function addGroup(distance: Distance, group: CompiledGroup, call: CallView): void {
  for (const field of group) {
    if (field.matcher.matches(call)) distance.matching++;
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
  if (rule.expression !== undefined) {
    if (rule.expression.ask(call) === true) distance.matching++;
    else distance.failing++;
  }
  return distance;
}

/** The ALLOW rule that came nearest to allowing a call which none allowed, with the first field that failed. Among more than 24 rules there may be a
 *  nearer one, unless `all` are to be compared. undefined when there is none to name. */
export function nearestRule(
  index: RuleIndex,
  call: CallView,
  direction: "inbound" | "outbound",
  all = false,
): NearestRule | undefined {
  let best: Distance | undefined;
  let nearest: CompiledRule | undefined;
  for (const rule of candidates(index, call, direction, all)) {
    const distance = distanceOf(rule, call);
    const isBetter =
      best === undefined ||
      nearest === undefined ||
      isNearer(distance, best) ||
      (!isNearer(best, distance) && rule.order < nearest.order);
    if (!isBetter) continue;
    best = distance;
    nearest = rule;
  }
  return describe(nearest, best, call);
}

function candidates(
  index: RuleIndex,
  call: CallView,
  direction: "inbound" | "outbound",
  all: boolean,
): readonly CompiledRule[] {
  if (all || index.ruleCount <= MAX_RULES) return rulesOf(index);
  const likely = likelyRules(index, call, direction, MAX_RULES);
  return likely.length > 0 ? likely.map((rule) => index.memory.rules.ruleAt(rule)) : rulesOf(index, MAX_RULES);
}

function describe(
  nearest: CompiledRule | undefined,
  best: Distance | undefined,
  call: CallView,
): NearestRule | undefined {
  if (nearest === undefined || best === undefined) return undefined;
  const field = best.first ?? httpField(nearest, call);
  if (field === undefined) {
    if (nearest.expression === undefined) return undefined;
    const expected = shorten(nearest.expression.text);
    return { rule: nearest.id, field: "conditions", expected, actual: "the expression does not hold" };
  }
  return {
    rule: nearest.id,
    field: field.model.label,
    expected: expectedText(field),
    actual: actualText(field, call, false),
  };
}

/** A rule that is dropped on TCP although the alternative that was tried would match: what drops it is its HTTP field. */
function httpField(rule: CompiledRule, call: CallView): CompiledField | undefined {
  if (call.request !== undefined) return undefined;
  return [...rule.sources.flat(), ...rule.operations.flat(), ...rule.conditions].find(({ model }) =>
    isHttpOnly(model.kind),
  );
}

export function expectedText({ model }: CompiledField): string {
  return shorten(`${model.negated ? "none of " : ""}${model.values.join(", ")}`);
}

export function shorten(text: string): string {
  // Escaped as JSON without its quotes: nothing a peer sent can break a line or a terminal.
  const safe = quoteJson(text, MAX_TEXT).slice(1, -1);
  return safe.length > MAX_TEXT ? `${safe.slice(0, MAX_TEXT - 1).replace(/\\(?:u[0-9a-f]{0,3})?$/, "")}…` : safe;
}

function addressText(address: IpAddress | undefined): string {
  return address === undefined ? "no address" : formatIpAddress(address);
}

/** What a call has where a field looks, safe to show. `matches` is the field's answer, negation included: where the value itself may be a secret, it
 *  says on which side it is. */
export function actualText(field: CompiledField, call: CallView, matches: boolean): string {
  return shorten(rawText(field, call, matches));
}

function rawText({ model }: CompiledField, call: CallView, matches: boolean): string {
  const { connection, request } = call;
  switch (model.kind) {
    case "principal":
    case "namespace":
    case "serviceAccount":
      return connection.hasPeer ? connection.principal : "no identity";
    case "trustDomain":
      return connection.hasPeer ? connection.trustDomain : "no identity";
    case "sourceIp":
    case "destinationIp":
      return addressText(connection[model.kind]);
    case "remoteIp":
      return addressText(call.remoteIp);
    case "destinationPrincipal":
      return call.destination === "" ? "no identity is asked of it" : `${call.destination}${call.isOpen ? "*" : ""}`;
    case "port":
      return connection.portText === "0" ? "no known port" : connection.portText;
    case "sni":
      return connection.sni === "" ? "no server name" : connection.sni;
    case "host":
      return request === undefined ? "no HTTP" : request.authority;
    case "method":
      return request === undefined ? "no HTTP" : request.method;
    case "path":
      return request === undefined ? "no HTTP" : request.path;
    case "header":
      return headerText(model, request, matches);
    case "requestPrincipal":
    case "audience":
    case "presenter":
    case "claim":
      return tokenText(model, request, matches);
  }
}

/** Header values may be secrets: only whether there is one, and whether it is one of those that the rule names. */
function headerText({ header, negated }: FieldModel, request: RequestFacts | undefined, matches: boolean): string {
  if (request === undefined) return "no HTTP";
  if (joinedHeader(request, header) === undefined) return `no header ${header}`;
  const first = isPseudoHeader(header) ? -1 : nextHeaderLine(request, header, 0);
  if (first !== -1 && nextHeaderLine(request, header, first + 1) !== -1) return `several lines of ${header}`;
  return matches === negated ? `another value of ${header}` : `one of them in ${header}`;
}

/** Who the token is about may be said; its other claims are nobody's business. */
function tokenText(
  { kind, claim = [], negated }: FieldModel,
  request: RequestFacts | undefined,
  matches: boolean,
): string {
  if (request === undefined) return "no HTTP";
  const { identity } = request;
  if (identity === undefined) return "no token";
  if (kind === "requestPrincipal") return `${identity.issuer}/${identity.subject}`;
  const named = kind === "claim" ? `claim ${claim.join(".")}` : kind;
  return matches === negated ? `no such ${named}` : `one of them as ${named}`;
}
