import { cidrSet } from "../core/cidr-set.ts";
import { parseCidr } from "../core/ip-address.ts";
import type { CallView, ConnectionView } from "./call-view.ts";
import type { CompiledField, IndexKeys } from "./compiled-policy.ts";
import { matchNamespace, matchPrincipal, matchServiceAccount, matchTrustDomain, type Reach } from "./match-identity.ts";
import { hostPattern, matchHeader, matchHost, matchPath } from "./match-request.ts";
import { compilePathTemplate, isPathTemplate } from "./path-template.ts";
import {
  type ConnectionKind,
  type FieldModel,
  type HttpKind,
  type IdentityKind,
  isHttpOnly,
  isIdentity,
  type PolicyModel,
} from "./policy-model.ts";
import type { PolicyMode } from "./policy-options.ts";
import { inTextSet, parseTextPattern, type TextPattern, textSet } from "./text-pattern.ts";
import { expandPrincipal, expandTrustDomain } from "./trust-domains.ts";

/** What a field's meaning depends on besides its values. */
export interface FieldContext {
  readonly mode: PolicyMode;
  readonly action: PolicyModel["action"];
  /** The local trust domain and its aliases. */
  readonly home: readonly string[];
  /** The same source (or the same rule's conditions) names trust domains, which lifts the restriction to home. */
  readonly namesTrustDomain: boolean;
}

type CallMatch = (call: CallView) => boolean;

export function compileField(model: FieldModel, context: FieldContext): CompiledField {
  const keys = model.negated ? undefined : indexKeys(model, context);
  return { model, keys, matches: compileMatch(model, context) };
}

function compileMatch(model: FieldModel, context: FieldContext): CallMatch {
  const { kind, negated } = model;
  if (isIdentity(kind)) {
    const fits = identityMatch(kind, model, context);
    const anonymous = anonymousMatches(model, context);
    return ({ connection }) => (connection.hasPeer ? fits(connection) !== negated : anonymous);
  }
  if (!isHttpOnly(kind)) {
    const fits = connectionMatch(kind, model, context);
    return ({ connection }) => fits(connection) !== negated;
  }
  const fits = requestMatch(kind, model, context);
  // Istio drops an HTTP-only field of a DENY on TCP, so the rule grows; an ALLOW shrinks (section 7).
  const onTcp = context.action === "DENY";
  return (call) => (call.request === undefined ? onTcp : fits(call));
}

/** What an identity field says about a caller without identity (section 5). */
function anonymousMatches({ negated, values }: FieldModel, { mode, action }: FieldContext): boolean {
  if (mode === "istio") return negated;
  // strict: nobody escapes a DENY by showing no identity, and nobody gains by it but where that is asked for.
  return action === "DENY" || (negated && values.length === 1 && values[0] === "*");
}

function reachOf(model: FieldModel, { mode, action, home, namesTrustDomain }: FieldContext): Reach {
  // Only what grants is narrowed. A `not*` of an ALLOW and all of a DENY keep the wide meaning, which refuses more callers
  // of an ALLOW and misses none of a DENY.
  if (mode === "istio" || action === "DENY" || model.negated) return { kind: "anywhere" };
  return { kind: "kubernetes", trustDomains: namesTrustDomain ? undefined : new Set(home) };
}

function identityMatch(
  kind: IdentityKind,
  model: FieldModel,
  context: FieldContext,
): (connection: ConnectionView) => boolean {
  const reach = reachOf(model, context);
  switch (kind) {
    case "principal":
      return matchPrincipal(
        model.values.flatMap((value) => expandPrincipal(value, context.home)),
        reach,
      );
    case "namespace":
      return matchNamespace(model.values, reach);
    case "serviceAccount":
      return matchServiceAccount(model.values, reach);
    case "trustDomain":
      return matchTrustDomain(model.values.flatMap((value) => expandTrustDomain(value, context.home)));
  }
}

function connectionMatch(
  kind: ConnectionKind,
  { values }: FieldModel,
  { mode }: FieldContext,
): (connection: ConnectionView) => boolean {
  switch (kind) {
    case "port": {
      const ports = new Set(values.map(Number));
      return (connection) => ports.has(connection.port);
    }
    case "sni": {
      // A server name is a host: strict compares it without case, so that a DENY cannot be dodged by capitals.
      const fold = mode === "strict";
      const names = textSet(values.map((value) => parseTextPattern(fold ? value.toLowerCase() : value)));
      return ({ sni }) => sni !== "" && inTextSet(names, fold ? sni.toLowerCase() : sni);
    }
    case "sourceIp":
    case "remoteIp":
    case "destinationIp": {
      const blocks = cidrSet(values.map(parseCidr).filter((block) => block !== undefined));
      return (connection) => {
        const address = connection[kind];
        return address !== undefined && blocks.has(address);
      };
    }
  }
}

/** Negation included. */
function requestMatch(kind: HttpKind, model: FieldModel, { mode, action }: FieldContext): CallMatch {
  const { values, negated, header } = model;
  switch (kind) {
    case "host": {
      const fits = matchHost(values, mode);
      return (call) => fits(call) !== negated;
    }
    case "method": {
      const methods = textSet(values.map(parseTextPattern));
      return ({ request }) => request !== undefined && inTextSet(methods, request.method) !== negated;
    }
    case "path": {
      const fits = matchPath(values, mode);
      return ({ request }) => request !== undefined && fits(request.path) !== negated;
    }
    case "header": {
      const fits = matchHeader(header, values, negated, mode === "strict" ? action : undefined);
      return ({ request }) => request !== undefined && fits(request);
    }
  }
}

/** The texts by which the index finds the rule; the field itself is still asked. undefined: no text, or any. */
function indexKeys(model: FieldModel, context: FieldContext): IndexKeys | undefined {
  const patterns = indexPatterns(model, context);
  if (patterns === undefined || patterns.some(({ form }) => form === "any")) return undefined;
  return { dimension: model.kind === "header" ? `header:${model.header}` : model.kind, patterns };
}

function indexPatterns({ kind, values }: FieldModel, context: FieldContext): readonly TextPattern[] | undefined {
  const exact = (text: string): TextPattern => ({ form: "exact", text });
  switch (kind) {
    case "principal":
      return values.flatMap((value) => expandPrincipal(value, context.home)).map(parseTextPattern);
    case "trustDomain":
      return values.flatMap((value) => expandTrustDomain(value, context.home)).map(parseTextPattern);
    case "namespace":
      return values.some((value) => /[*/]/.test(value)) ? undefined : values.map(exact);
    case "serviceAccount":
      return values.map((value) => exact(value.slice(value.indexOf("/") + 1)));
    case "host":
      return values.map((value) => hostPattern(value, context.mode));
    case "path":
      return values.map((value) => {
        const [prefix = ""] = isPathTemplate(value) ? compilePathTemplate(value, false).literals : [];
        return prefix === "" ? parseTextPattern(value) : { form: "prefix", text: prefix };
      });
    case "method":
    case "header":
      return values.map(parseTextPattern);
    case "port":
      return values.map(exact);
    case "sni":
    case "sourceIp":
    case "remoteIp":
    case "destinationIp":
      return undefined;
  }
}
