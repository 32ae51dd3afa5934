import type { RequestFacts } from "../core/call-facts.ts";
import type { CallView } from "./call-view.ts";
import { isPseudoHeader, joinedHeader, lineJoints, nextHeaderLine, otherSpelling } from "./header-lines.ts";
import { canonicalHost, namesPort } from "./host-name.ts";
import { compilePathTemplate, isPathTemplate, matchesPathTemplate } from "./path-template.ts";
import type { PolicyMode } from "./policy-options.ts";
import { inTextSet, parseTextPattern, type TextPattern, textSet } from "./text-pattern.ts";

type PathMatch = (path: string) => boolean;

/** A host value as a pattern over canonical hosts. */
export function hostPattern(value: string, mode: PolicyMode): TextPattern {
  const pattern = parseTextPattern(value.toLowerCase());
  if (pattern.form === "exact" || pattern.form === "suffix")
    return { form: pattern.form, text: canonicalHost(pattern.text, mode === "strict") };
  return pattern;
}

/** strict: a value without port stands for the host at any port. istio: one that has two spellings is meant by either. */
export function matchHost(values: readonly string[], mode: PolicyMode): (call: CallView) => boolean {
  const patterns = (some: readonly string[]) => textSet(some.map((value) => hostPattern(value, mode)));
  if (mode === "istio") {
    const all = patterns(values);
    return ({ host, otherHost }) => inTextSet(all, host) || (otherHost !== undefined && inTextSet(all, otherHost));
  }
  const withPort = patterns(values.filter(namesPort));
  const withoutPort = patterns(values.filter((value) => !namesPort(value)));
  return (call) => inTextSet(withoutPort, call.hostName) || inTextSet(withPort, call.host);
}

export function matchPath(values: readonly string[], mode: PolicyMode): PathMatch {
  const plain = textSet(values.filter((value) => !isPathTemplate(value)).map(parseTextPattern));
  const templates = values.filter(isPathTemplate).map((value) => compilePathTemplate(value, mode === "istio"));
  if (templates.length === 0) return (path) => inTextSet(plain, path);
  const [only] = templates;
  if (only !== undefined && values.length === 1) return (path) => matchesPathTemplate(only, path);
  return (path) => {
    if (inTextSet(plain, path)) return true;
    for (const template of templates) if (matchesPathTemplate(template, path)) return true;
    return false;
  };
}

/** A header condition, its negation included: with several lines it is more than NOT (authorization, section 2). `careful`: strict mode, in a DENY
 *  any line that fits or the joined value, however it is joined, is enough, in an ALLOW several lines never are. Otherwise as Envoy does: any line that has a value. */
export function matchHeader(
  name: string,
  values: readonly string[],
  negated: boolean,
  careful: "ALLOW" | "DENY" | undefined,
): (request: RequestFacts) => boolean {
  const set = textSet(values.map(parseTextPattern));
  // A star stands for a header that is there, even with an empty value.
  const fits = (value: string) => set.any || inTextSet(set, value);
  const joints = lineJoints(name);
  return (request) => {
    const joined = joinedHeader(request, name);
    if (joined === undefined) return negated;
    const first = isPseudoHeader(name) ? -1 : nextHeaderLine(request, name, 0);
    const second = first === -1 ? -1 : nextHeaderLine(request, name, first + 1);
    if (second === -1) {
      const other = careful === undefined ? otherSpelling(request, name) : undefined;
      return (fits(joined) || (other !== undefined && fits(other))) !== negated;
    }
    if (careful === "ALLOW") return false;
    const wanted = careful === undefined || !negated;
    const isFound =
      someLine(request, name, fits, wanted) ||
      (careful === "DENY" && joints.some((joint) => fits(joinedHeader(request, name, joint) ?? "") === wanted));
    return careful === undefined ? isFound !== negated : isFound;
  };
}

/** Whether one of the header's lines gets the wanted answer. */
function someLine(request: RequestFacts, name: string, fits: (value: string) => boolean, wanted: boolean): boolean {
  for (let at = nextHeaderLine(request, name, 0); at !== -1; at = nextHeaderLine(request, name, at + 1))
    if (fits(request.headers[at] ?? "") === wanted) return true;
  return false;
}
