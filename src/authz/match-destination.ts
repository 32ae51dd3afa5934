import type { CallView } from "./call-view.ts";
import { compilePrincipalTemplate } from "./match-identity.ts";
import { isPathTemplate, matchesPathTemplate, type PathTemplate } from "./path-template.ts";
import { inTextSet, parseTextPattern, type TextPattern, textSet } from "./text-pattern.ts";

/** A field about whom an outbound call goes to, its negation included. `grants`: of an ALLOW. A destination may be open, which is to say that
 *  the server may prove any principal with that beginning: what grants must hold for all of them, what refuses for one.
 *  `values` are expanded over the trust domain's aliases; `without` is the answer when no principal is asked of the server. */
export function matchDestination(
  values: readonly string[],
  negated: boolean,
  grants: boolean,
  without: boolean,
): (call: CallView) => boolean {
  const patterns = values.filter((value) => !isPathTemplate(value)).map(parseTextPattern);
  const templates = values.filter(isPathTemplate).map(compilePrincipalTemplate);
  const set = textSet(patterns);
  const wantsAll = grants !== negated;
  return ({ destination, isOpen }) => {
    if (destination === "") return without;
    if (!isOpen)
      return (
        (inTextSet(set, destination) || templates.some((one) => matchesPathTemplate(one, destination))) !== negated
      );
    const fits = wantsAll
      ? patterns.some((pattern) => covers(pattern, destination)) ||
        templates.some((template) => template.tail === "" && matchesPathTemplate(template, destination))
      : patterns.some((pattern) => overlaps(pattern, destination)) ||
        templates.some((template) => templateOverlaps(template, destination));
    return fits !== negated;
  };
}

/** Whether a pattern fits everything that begins with `start`. */
function covers(pattern: TextPattern, start: string): boolean {
  return pattern.form === "any" || (pattern.form === "prefix" && start.startsWith(pattern.text));
}

/** Whether a pattern may fit something that begins with `start`. */
function overlaps(pattern: TextPattern, start: string): boolean {
  switch (pattern.form) {
    case "any":
    case "suffix":
      return true;
    case "exact":
      return pattern.text.startsWith(start);
    case "prefix":
      return pattern.text.startsWith(start) || start.startsWith(pattern.text);
  }
}

/** May say yes too often: then a DENY refuses more, and an ALLOW grants less. */
function templateOverlaps(template: PathTemplate, start: string): boolean {
  const [head = ""] = template.literals;
  return head.startsWith(start) || start.startsWith(head);
}
