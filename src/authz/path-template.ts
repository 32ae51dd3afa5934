/** Path templates (authorization, section 3): `{*}` is one segment, `{**}` the rest. Both are whole segments. */
export interface PathTemplate {
  /** What stands before, between and after the `{*}` operators; matching goes through them from the left. */
  readonly literals: readonly string[];
  /** What must follow the `{**}`, or undefined when there is none. The last literal then stands before it. */
  readonly tail: string | undefined;
  /** Istio lets an operator stand for the characters of RFC 3986 path segments only; strict: for any but `/`. */
  readonly segmentCharsOnly: boolean;
}

const ONE = "{*}";
const REST = "{**}";
/** What Istio allows as the literal segments of a template. */
const LITERAL = /^[A-Za-z0-9\-._~%!$&'()+,;:@=]*$/;

export function isPathTemplate(value: string): boolean {
  return value.includes(ONE) || value.includes(REST);
}

/** Why a path value is not valid where braces are concerned, or undefined. Istio refuses the same. */
export function pathTemplateProblem(value: string): string | undefined {
  const isTemplate = isPathTemplate(value);
  if (isTemplate && !value.startsWith("/")) return "is a template that does not start with /";
  let restSeen = false;
  for (const segment of value.split("/")) {
    if (segment === ONE || segment === REST) {
      if (restSeen) return "has an operator after {**}, which must be the last one";
      restSeen = segment === REST;
    } else if (/[{}]/.test(segment)) {
      return "has a brace that is no {*} or {**} as a whole segment";
    } else if (isTemplate && !LITERAL.test(segment)) {
      return `has the segment ${JSON.stringify(segment)}, which a template may not have`;
    }
  }
  return undefined;
}

/** Compiles a value without problem. */
export function compilePathTemplate(value: string, segmentCharsOnly: boolean): PathTemplate {
  const rest = value.indexOf(REST);
  const head = rest === -1 ? value : value.slice(0, rest);
  return {
    literals: head.split(ONE),
    tail: rest === -1 ? undefined : value.slice(rest + REST.length),
    segmentCharsOnly,
  };
}

function isSegmentChar(code: number): boolean {
  if (code >= 0x61) return code <= 0x7a || code === 0x7e; // a-z ~
  if (code >= 0x40) return code <= 0x5a || code === 0x5f; // @ A-Z _
  if (code >= 0x30) return code <= 0x3b || code === 0x3d; // 0-9 : ; =
  // ! $ % & ' ( ) + , - .
  return code === 0x21 || (code >= 0x24 && code <= 0x2e && code !== 0x2a);
}

/** Offset of the first character from `at` to `end` that an operator may not stand for, or `end`. */
function operatorEnd(template: PathTemplate, path: string, at: number, end: number, slashes: boolean): number {
  for (let i = at; i < end; i++) {
    const code = path.charCodeAt(i);
    if (code === 0x2f ? !slashes : template.segmentCharsOnly && !isSegmentChar(code)) return i;
  }
  return end;
}

/** Allocates nothing. Linear in the path: an operator ends at the next slash, so nothing is tried twice. */
export function matchesPathTemplate(template: PathTemplate, path: string): boolean {
  const { literals, tail } = template;
  // Of many templates with one beginning it tells most apart without a look at what comes before.
  if (tail !== undefined && !path.endsWith(tail)) return false;
  let at = 0;
  for (let i = 0; i < literals.length; i++) {
    const literal = literals[i] ?? "";
    if (i > 0) {
      const end = operatorEnd(template, path, at, path.length, false);
      if (end === at) return false;
      at = end;
    }
    if (!path.startsWith(literal, at)) return false;
    at += literal.length;
  }
  if (tail === undefined) return at === path.length;
  const tailAt = path.length - tail.length;
  return tailAt >= at && operatorEnd(template, path, at, tailAt, true) === tailAt;
}
