import { compilePathTemplate, isPathTemplate, matchesPathTemplate } from "../authz/path-template.ts";
import { inTextSet, parseTextPattern, textSet } from "../authz/text-pattern.ts";

/** Whether a value of `paths` matches a path in its plain form, as strict mode reads templates. */
export function pathMatches(value: string, path: string): boolean {
  if (isPathTemplate(value)) return matchesPathTemplate(compilePathTemplate(value, false), path);
  return inTextSet(textSet([parseTextPattern(value)]), path);
}
