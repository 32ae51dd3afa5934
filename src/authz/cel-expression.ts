import type { ASTNode } from "@marcbachmann/cel-js";
import { isRequest, wrongHeader, wrongSide } from "./cel-asked-names.ts";
import { celEnvironment, compileRegex, REGEX_FUNCTION } from "./cel-environment.ts";
import type { PolicyModel } from "./policy-model.ts";

/** A parsed, type-checked and bounded CEL expression. Immutable. */
export interface CelExpression {
  /** Runs it. Throws the library's errors, and CostExceeded. */
  readonly run: (variables: Record<string, unknown>) => unknown;
  /** Variables that it names, such as `time` and `request`. */
  readonly names: ReadonlySet<string>;
  /** It may look at `request.path`. */
  readonly readsPath: boolean;
  readonly nodes: number;
  /** How many loops may stand inside each other; each multiplies the cost by the size of a collection. */
  readonly loops: number;
  /** Longest list or map that is written in it. */
  readonly literalSize: number;
  /** `split` makes a list as long as a text. */
  readonly splits: boolean;
}

/** Why a text is no usable expression, with the offset of the place in it. */
export interface CelProblem {
  readonly code: "E_POLICY_CONDITION" | "E_POLICY_CONDITION_COST";
  readonly message: string;
  readonly offset: number;
  /** Where it is more than to correct the expression. */
  readonly fix?: string;
}

const MAX_TEXT = 4096;
const MAX_LOOPS = 3;
const LOOPS: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "map", "filter"]);
const VARIABLES: ReadonlySet<string> = new Set(["source", "request", "connection", "destination", "workload", "time"]);

/** Compiles an expression of a policy of this direction. `matches` takes RE2 patterns, written as literals, and runs in linear time. `cel.bind` is refused: with it a
 *  short text can build values that double at each step. */
export function compileCel(text: string, direction: PolicyModel["direction"]): CelExpression | CelProblem {
  if (text.length > MAX_TEXT)
    return { code: "E_POLICY_CONDITION_COST", message: `is longer than ${MAX_TEXT} characters`, offset: 0 };
  let parsed: ReturnType<ReturnType<typeof celEnvironment>["parse"]>;
  try {
    parsed = celEnvironment(direction).parse(text);
  } catch (error) {
    return problemOf(error, "does not parse");
  }
  const survey: Survey = {
    direction,
    nodes: 0,
    loops: 0,
    membership: 0,
    literalSize: 0,
    splits: false,
    names: new Set(),
    requests: 0,
    pathless: 0,
  };
  const problem = look(parsed.ast, survey);
  if (problem !== undefined) return problem;
  const checked = parsed.check();
  if (!checked.valid) return problemOf(checked.error, "has a type error");
  if (checked.type !== "bool") {
    const message = `gives ${checked.type ?? "no type"} where a bool belongs`;
    return { code: "E_POLICY_CONDITION", message, offset: 0 };
  }
  if (survey.loops > MAX_LOOPS)
    return { code: "E_POLICY_CONDITION_COST", message: `has more than ${MAX_LOOPS} loops`, offset: 0 };
  // An `in` inside a loop is one more.
  const loops = survey.loops + (survey.loops > 0 && survey.membership > 0 ? 1 : 0);
  return { ...survey, loops, readsPath: survey.requests > survey.pathless, run: parsed };
}

interface Survey {
  readonly direction: PolicyModel["direction"];
  nodes: number;
  loops: number;
  membership: number;
  literalSize: number;
  splits: boolean;
  readonly names: Set<string>;
  /** How often `request` is named, and how often for one of its fields that is not the path. */
  requests: number;
  pathless: number;
}

/** Counts what decides the cost, refuses what cannot be bounded, and gives `matches` its bounded form. */
function look(node: ASTNode, survey: Survey): CelProblem | undefined {
  survey.nodes++;
  if (node.op === "id" && VARIABLES.has(node.args)) survey.names.add(node.args);
  if (isRequest(node)) survey.requests++;
  if (node.op === "." && isRequest(node.args[0]) && node.args[1] !== "path") survey.pathless++;
  if (node.op === "in") survey.membership++;
  if (node.op === "list" || node.op === "map") survey.literalSize = Math.max(survey.literalSize, node.args.length);
  const problem =
    wrongSide(node, survey.direction) ??
    wrongHeader(node) ??
    (node.op === "call" || node.op === "rcall" ? lookAtCall(node, survey) : undefined);
  return problem ?? lookInside(node.args, survey);
}

function lookInside(value: unknown, survey: Survey): CelProblem | undefined {
  if (Array.isArray(value)) {
    for (const item of value as readonly unknown[]) {
      const problem = lookInside(item, survey);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
  return isNode(value) ? look(value, survey) : undefined;
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === "object" && value !== null && "op" in value && "args" in value;
}

function lookAtCall(node: Extract<ASTNode, { op: "call" | "rcall" }>, survey: Survey): CelProblem | undefined {
  const name = node.args[0];
  const refuse = (message: string): CelProblem => ({ code: "E_POLICY_CONDITION", message, offset: node.start });
  if (LOOPS.has(name)) survey.loops++;
  if (name === "split") survey.splits = true;
  if (name === "bind") return { ...refuse("uses cel.bind, whose cost has no bound"), code: "E_POLICY_CONDITION_COST" };
  if (name === REGEX_FUNCTION) return refuse(`${name} does not exist`);
  if (name !== "matches") return undefined;
  const [pattern] = node.op === "rcall" ? node.args[2] : [];
  if (pattern?.op !== "value" || typeof pattern.args !== "string")
    return refuse("matches takes one pattern, written as a literal");
  try {
    compileRegex(pattern.args);
  } catch (error) {
    const why = error instanceof Error ? error.message : "no pattern of RE2 syntax";
    return { ...refuse(`the pattern of matches: ${why}`), offset: pattern.start };
  }
  // The type checker looks functions up by this name.
  (node.args as [string, ...unknown[]])[0] = REGEX_FUNCTION;
  return undefined;
}

function problemOf(error: unknown, otherwise: string): CelProblem {
  const details = error as { readonly summary?: unknown; readonly range?: { readonly start?: unknown } } | undefined;
  const message = typeof details?.summary === "string" ? details.summary : otherwise;
  const start = details?.range?.start;
  return { code: "E_POLICY_CONDITION", message, offset: typeof start === "number" ? start : 0 };
}
