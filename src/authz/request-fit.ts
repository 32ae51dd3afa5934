import type { CallView } from "./call-view.ts";
import type { CompiledField, CompiledGroup, CompiledRule } from "./compiled-policy.ts";
import { type FieldModel, isHttpOnly } from "./policy-model.ts";
import { fieldsOf } from "./rule-store.ts";

/** As what a tunnel of the egress proxy is decided, and no request is. */
const TUNNEL = "CONNECT";

/** Which of all the requests that a tunnel may carry something fits, as far as the tunnel tells: by its host, port and address, and by whom its
 *  server must prove to be. */
export type Fit = typeof FITS_NONE | typeof FITS_SOME | typeof FITS_ALL;
export const FITS_NONE = 0;
export const FITS_SOME = 1;
export const FITS_ALL = 2;

const least = (fits: readonly Fit[]): Fit => fits.reduce<Fit>((a, b) => (a < b ? a : b), FITS_ALL);
const most = (fits: readonly Fit[]): Fit => fits.reduce<Fit>((a, b) => (a > b ? a : b), FITS_NONE);

/** Whether a field asks for something that a tunnel has as well as a request. */
function isOfTunnel({ kind, header }: FieldModel): boolean {
  return !isHttpOnly(kind) || kind === "host" || (kind === "header" && header === "host");
}

/** What a field fits whatever the tunnel is; undefined: the tunnel tells. */
function fixedFit(model: FieldModel): Fit | undefined {
  const { kind, values, negated } = model;
  if (isOfTunnel(model)) return undefined;
  if (kind !== "method" && kind !== "path") return FITS_SOME;
  if (values.includes("*")) return negated ? FITS_NONE : FITS_ALL;
  if (kind === "method" && values.every((value) => value === TUNNEL)) return negated ? FITS_ALL : FITS_NONE;
  return FITS_SOME;
}

/** Whether policies are enforced by the rule: one that marks records refuses nothing, nor does a dry run. */
function isEnforced({ action, policy }: CompiledRule): boolean {
  return action !== "AUDIT" && !policy.dryRun;
}

/** Whether an enforced rule asks more of an outbound call than a tunnel tells. */
export function looksIntoTunnels(rule: CompiledRule): boolean {
  const asks = ({ model }: CompiledField): boolean =>
    !isOfTunnel(model) && !(model.kind === "method" && !model.negated && model.values.includes("*"));
  return isEnforced(rule) && (rule.expression?.readsHttp === true || fieldsOf(rule).some(asks));
}

/** Whether a rule may allow a tunnel whatever it carries. */
export function mayAllowTunnels(rule: CompiledRule): boolean {
  const isOpen = (group: CompiledGroup): boolean =>
    group.every(({ model }) => (fixedFit(model) ?? FITS_ALL) === FITS_ALL);
  const { operations, conditions, expression } = rule;
  return (
    rule.action === "ALLOW" &&
    isEnforced(rule) &&
    expression?.readsHttp !== true &&
    isOpen(conditions) &&
    (operations.length === 0 || operations.some(isOpen))
  );
}

/** Which requests in a tunnel a rule fits. `call`: the tunnel. */
export function fitOf(rule: CompiledRule, call: CallView): Fit {
  const { operations, conditions } = rule;
  const ofGroup = (group: CompiledGroup): Fit => least(group.map((field) => fitOfField(field, call)));
  const fields = least([operations.length === 0 ? FITS_ALL : most(operations.map(ofGroup)), ofGroup(conditions)]);
  return fields === FITS_NONE ? fields : least([fields, fitOfExpression(rule, call)]);
}

function fitOfField({ model, matcher }: CompiledField, call: CallView): Fit {
  return fixedFit(model) ?? (matcher.matches(call) ? FITS_ALL : FITS_NONE);
}

function fitOfExpression({ expression, action }: CompiledRule, call: CallView): Fit {
  if (expression === undefined) return FITS_ALL;
  if (expression.readsHttp) return FITS_SOME;
  const answer = expression.ask(call);
  const holds = typeof answer === "boolean" ? answer : action !== "ALLOW";
  return holds ? FITS_ALL : FITS_NONE;
}
