import { parseCidr } from "../core/ip-address.ts";
import { addressBits } from "./address-bits.ts";
import { dimensionName } from "./call-dimension.ts";
import type { FieldContext } from "./compile-field.ts";
import { hostPattern } from "./match-request.ts";
import { compilePathTemplate, isPathTemplate } from "./path-template.ts";
import type { FieldModel } from "./policy-model.ts";
import { parseTextPattern, type TextPattern } from "./text-pattern.ts";
import { SEGMENT } from "./text-trie.ts";
import { expandPrincipal, expandTrustDomain } from "./trust-domains.ts";

/** What a field says to the index: it can only match calls that have one of these texts in the dimension. */
export interface IndexKeys {
  /** By its name. */
  readonly dimension: string;
  readonly patterns: readonly TextPattern[];
  /** A call that has one of the texts matches the field: it need not be asked again. */
  readonly isProof: boolean;
}

/** The texts by which the index finds the rule. undefined: none, or any. */
export function indexKeys(model: FieldModel, context: FieldContext): IndexKeys | undefined {
  // The sign for a segment would be taken for one.
  if (model.values.some((value) => value.includes(SEGMENT))) return undefined;
  const patterns = indexPatterns(model, context);
  if (patterns === undefined || patterns.some(({ form }) => form === "any")) return undefined;
  const { kind, values } = model;
  return { dimension: dimensionName(model), patterns, isProof: isProof(kind, values, patterns, context) };
}

function isProof(
  kind: FieldModel["kind"],
  values: readonly string[],
  patterns: readonly TextPattern[],
  { mode }: FieldContext,
): boolean {
  if (kind === "method" || kind === "port" || kind === "trustDomain") return true;
  // Istio lets an operator stand for some characters only.
  if (kind === "path")
    return values.every((value) => !isPathTemplate(value) || (mode === "strict" && isWholeTemplate(value)));
  // A star may reach into the trust domain, and that depends on more than the text.
  return kind === "principal" && patterns.every(({ form }) => form === "exact");
}

const exact = (text: string): TextPattern => ({ form: "exact", text });

function indexPatterns(model: FieldModel, context: FieldContext): readonly TextPattern[] | undefined {
  const { kind, values } = model;
  switch (kind) {
    case "principal":
    case "destinationPrincipal":
      return values
        .flatMap((value) => expandPrincipal(value, context.home))
        .map(context.ours ? templatePattern : parseTextPattern);
    case "trustDomain":
      return values.flatMap((value) => expandTrustDomain(value, context.home)).map(parseTextPattern);
    case "namespace":
      return values.map(namespacePattern).every((pattern) => pattern !== undefined)
        ? values.map((value) => namespacePattern(value) ?? exact(value))
        : undefined;
    case "serviceAccount":
      return values.map((value) => exact(value.slice(value.indexOf("/") + 1)));
    case "host":
      return values.map((value) => hostPattern(value, context.mode));
    case "path":
      return values.map(templatePattern);
    case "method":
    case "header":
    case "audience":
    case "presenter":
    case "claim":
      return values.map(parseTextPattern);
    case "requestPrincipal":
      return (model.requestPrincipals ?? []).map(({ subject }) => subject);
    case "port":
      return values.map(exact);
    case "sourceIp":
    case "remoteIp":
    case "destinationIp":
      return values.map((value) => {
        const block = parseCidr(value);
        if (block === undefined) throw new TypeError("the value was not checked");
        return { form: "prefix", text: addressBits(block, block.prefixBits) };
      });
    case "sni":
      // As the field compares it.
      return values.map((value) => parseTextPattern(context.mode === "strict" ? value.toLowerCase() : value));
  }
}

/** `*` anywhere crosses slashes, so only a value with one star at its end begins a segment for certain. */
function namespacePattern(value: string): TextPattern | undefined {
  if (value.includes("/") || value === "*") return undefined;
  const star = value.indexOf("*");
  if (star === -1) return exact(value);
  return star === value.length - 1 ? { form: "prefix", text: value.slice(0, -1) } : undefined;
}

/** A template as the index looks it up: exactly, but for what stands between `{**}` and a tail, where the longer side finds it. */
function templatePattern(value: string): TextPattern {
  if (!isPathTemplate(value)) return parseTextPattern(value);
  const { literals, tail } = compilePathTemplate(value, false);
  const head = literals.join(SEGMENT);
  if (tail === undefined) return exact(head);
  return tail.length > head.length ? { form: "suffix", text: tail } : { form: "prefix", text: head };
}

/** Whether the index looks all of the template up. */
function isWholeTemplate(value: string): boolean {
  const { tail } = compilePathTemplate(value, false);
  return tail === undefined || tail === "";
}
