import type { CallView } from "./call-view.ts";
import { CostExceeded } from "./cel-environment.ts";
import { type CelExpression, compileCel } from "./cel-expression.ts";
import { type CelSetting, celVariables } from "./cel-variables.ts";
import type { PolicyModel } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";

/** A rule's expression, ready to be asked. */
export interface CompiledExpression {
  readonly text: string;
  readonly dependsOnTime: boolean;
  readonly readsHttp: boolean;
  /** It may look at the path. */
  readonly readsPath: boolean;
  readonly readsConnection: boolean;
  /** Whether it holds; a text says what went wrong, without values of the call. */
  readonly ask: (call: CallView) => boolean | string;
}

/** What an expression's meaning depends on besides its text. */
export interface ExpressionContext {
  readonly options: PolicyOptions;
  readonly direction: PolicyModel["direction"];
  readonly grants: CelSetting["grants"];
  readonly home: CelSetting["home"];
}

/** What the library says of values that are no single text. */
const UNCLEAR_CODES: readonly unknown[] = ["unsupported_type", "invalid_comparison_type", "field_type_mismatch"];

/** About ten nanoseconds each. */
const MAX_COST = 200_000;

/** Compiles the text of a checked ExpressionModel. Throws a TypeError for one that was not checked. */
export function compileExpression(text: string, context: ExpressionContext): CompiledExpression {
  const { options, direction, grants, home } = context;
  const expression = compileCel(text, direction);
  if (!("run" in expression)) throw new TypeError(`the expression was not checked: ${expression.message}`);
  const workload = { namespace: options.workload.namespace, labels: options.workload.labels };
  const readsHttp = expression.names.has("request");
  const dependsOnTime = expression.names.has("time");
  const readsConnection = expression.names.has("connection");
  const { readsPath } = expression;
  const setting: CelSetting = { workload, careful: options.mode === "strict", grants, home };
  const asked = (call: CallView): boolean | string => ask(expression, call, setting);
  return { text, dependsOnTime, readsHttp, readsPath, readsConnection, ask: asked };
}

function ask(expression: CelExpression, call: CallView, setting: CelSetting): boolean | string {
  if (expression.names.has("time") && call.nowMs === undefined) return "the time of the call is not known";
  if (expression.names.has("request") && call.request === undefined) return "the call is no HTTP request";
  const measure = { size: expression.literalSize, text: 0 };
  try {
    const variables = celVariables(expression.names, call, measure, setting);
    const collection = Math.max(1, measure.size, expression.splits ? measure.text : 0);
    const cost = expression.nodes * collection ** expression.loops * (1 + measure.text / 256);
    if (cost > MAX_COST) return "it would cost more than it may for a call of this size";
    const result = expression.run(variables);
    return typeof result === "boolean" ? result : "it gave no bool";
  } catch (error) {
    if (error instanceof CostExceeded) return `it would cost more than it may: ${error.message}`;
    const code = (error as { readonly code?: unknown } | undefined)?.code;
    if (UNCLEAR_CODES.includes(code)) return "what it asks for has no single text in this call";
    if (code === "no_such_key") return "what it asks for is not there";
    return `it failed: ${typeof code === "string" && /^[a-z_]+$/.test(code) ? code : "error"}`;
  }
}
