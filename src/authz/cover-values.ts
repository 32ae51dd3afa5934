import { parseCidr } from "../core/ip-address.ts";
import { addressBits } from "./address-bits.ts";
import { reachesTrustDomain } from "./match-identity.ts";
import { isPathTemplate } from "./path-template.ts";
import type { FieldKind } from "./policy-model.ts";
import { hasLiteralStar, parseTextPattern, type TextPattern } from "./text-pattern.ts";

/** A value of fields, once for all fields of a kind that name it. */
export interface CoverValue {
  /** Its own among all values of all kinds. */
  readonly number: number;
  /** "itself": it covers but itself, and only a lone star covers it. */
  readonly form: TextPattern["form"] | "itself";
  /** What stands before the star, behind it, or without one. */
  readonly text: string;
  /** In an ALLOW it does not stand for all that it seems to: a star does not reach into trust domains of others. */
  readonly reachesHomeOnly: boolean;
  /** How many fields name it. */
  count: number;
  /** What covers it, as far as was asked when there were so many values with stars. */
  wider: readonly CoverValue[];
  widerOf: number;
}

/** Values of one kind of fields; of headers and claims, of one name. */
export interface CoverScale {
  /** Its own among the numbers of all values. */
  readonly number: number;
  readonly kind: FieldKind;
  /** The value of a text. Texts that mean the same have one value. */
  valueOf(text: string): CoverValue;
  /** Whether a value may cover others. */
  hasStars(): boolean;
  /** Every value so far that covers this one: itself first, then from the longest text to the lone star. To be asked after all values are known:
   *  a new one with a star makes it begin anew. */
  wider(value: CoverValue): readonly CoverValue[];
}

const NONE: readonly CoverValue[] = [];
/** Longer lists are made each time: of texts that all begin with each other they would take more memory than the texts. */
const MAX_KEPT = 64;

/** `next` gives a number that nothing else has. */
export function coverScale(kind: FieldKind, next: () => number): CoverScale {
  const byText = new Map<string, CoverValue>();
  const stars: CoverValue[] = [];
  let any: CoverValue | undefined;
  let chains: { readonly before: TextChains; readonly behind: TextChains } | undefined;
  const create = (written: string): CoverValue => {
    const pattern = coverPattern(kind, written);
    const plain = plainText(kind, written, pattern);
    let value = plain === written ? undefined : byText.get(plain);
    if (value === undefined) {
      const form = pattern?.form ?? "itself";
      const text = pattern === undefined || pattern.form === "any" ? written : pattern.text;
      const reachesHomeOnly = kind === "principal" && pattern !== undefined && reachesTrustDomain(pattern);
      value = { number: next(), form, text, reachesHomeOnly, count: 0, wider: NONE, widerOf: -1 };
      byText.set(plain, value);
      if (form === "any") any = value;
      if (form !== "exact" && form !== "itself") stars.push(value);
      chains = undefined;
    }
    if (plain !== written) byText.set(written, value);
    return value;
  };
  const findWider = (value: CoverValue): readonly CoverValue[] => {
    const { form, text } = value;
    const found = [value];
    if (form !== "any" && form !== "itself") {
      chains ??= { before: textChains(stars, "prefix"), behind: textChains(stars, "suffix") };
      if (form !== "suffix") chains.before.add(text, value, found);
      if (form !== "prefix") chains.behind.add(text, value, found);
    }
    if (any !== undefined && any !== value) found.push(any);
    return found;
  };
  return {
    number: next(),
    kind,
    valueOf: (text) => byText.get(text) ?? create(text),
    hasStars: () => stars.length > 0,
    wider(value) {
      if (value.widerOf === stars.length) return value.wider;
      const found = findWider(value);
      if (found.length <= MAX_KEPT) {
        value.wider = found;
        value.widerOf = stars.length;
      }
      return found;
    },
  };
}

/** A value as a text with one star at an end, so that one value can be seen to cover another. undefined: it covers but itself. */
function coverPattern(kind: FieldKind, value: string): TextPattern | undefined {
  switch (kind) {
    case "audience":
    case "presenter":
    case "claim":
    case "principal":
    case "trustDomain":
    case "method":
    case "path":
    case "header":
    case "sni":
      // A template is only compared as a whole: its literal beginning is not all that it says.
      return isPathTemplate(value) ? undefined : parseTextPattern(value);
    case "namespace":
      return hasLiteralStar(value) ? undefined : parseTextPattern(value);
    case "host":
      // Whether a port or a dot at the end counts depends on the mode.
      return value.includes(":") || value.endsWith(".") ? undefined : parseTextPattern(value.toLowerCase());
    case "sourceIp":
    case "remoteIp":
    case "destinationIp": {
      const block = parseCidr(value);
      return block === undefined ? undefined : { form: "prefix", text: addressBits(block, block.prefixBits) };
    }
    case "serviceAccount":
    case "port":
    case "requestPrincipal":
    case "destinationPrincipal":
      return undefined;
  }
}

/** One text for all that mean the same. */
function plainText(kind: FieldKind, value: string, pattern: TextPattern | undefined): string {
  if (pattern === undefined) return value;
  if (kind === "host") return value.toLowerCase();
  const isAddress = kind === "sourceIp" || kind === "remoteIp" || kind === "destinationIp";
  return isAddress && pattern.form === "prefix" ? pattern.text : value;
}

/** Texts before a star (or, read backwards, behind one), each with the longest other one that it begins with. */
interface TextChains {
  /** Adds those that a text begins with (or ends with), but for `value`, from the longest to the shortest. */
  add(text: string, value: CoverValue, found: CoverValue[]): void;
}

function textChains(stars: readonly CoverValue[], form: "prefix" | "suffix"): TextChains {
  const read = (text: string) => (form === "prefix" ? text : reversed(text));
  const all = stars.filter((value) => value.form === form).map((value) => ({ text: read(value.text), value }));
  all.sort((a, b) => (a.text < b.text ? -1 : 1));
  const parents = new Int32Array(all.length);
  let last = -1;
  for (const [i, { text }] of all.entries()) {
    while (last >= 0 && !text.startsWith(all[last]?.text ?? "")) last = parents[last] ?? -1;
    parents[i] = last;
    last = i;
  }
  return {
    add(written, value, found) {
      if (all.length === 0) return;
      const text = read(written);
      let [from, to] = [0, all.length];
      while (from < to) {
        const middle = (from + to) >> 1;
        if ((all[middle]?.text ?? "") <= text) from = middle + 1;
        else to = middle;
      }
      // What stands in order between a text and its longest beginning begins with that too, so the way up from there leads to it.
      let at = from - 1;
      while (at >= 0 && !text.startsWith(all[at]?.text ?? "")) at = parents[at] ?? -1;
      for (; at >= 0; at = parents[at] ?? -1) {
        const one = all[at]?.value;
        if (one !== undefined && one !== value) found.push(one);
      }
    },
  };
}

function reversed(text: string): string {
  let out = "";
  for (let i = text.length - 1; i >= 0; i--) out += text.charAt(i);
  return out;
}
