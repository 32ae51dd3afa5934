import type { CallView } from "./call-view.ts";
import type { CompiledGroup, CompiledRule } from "./compiled-policy.ts";

function groupMatches(group: CompiledGroup, call: CallView): boolean {
  for (const field of group) if (!field.matches(call)) return false;
  return true;
}

function anyMatches(groups: readonly CompiledGroup[], call: CallView): boolean {
  if (groups.length === 0) return true;
  for (const group of groups) if (groupMatches(group, call)) return true;
  return false;
}

/** Any source, and any operation, and every condition (authorization, section 1). */
export function ruleMatches(rule: CompiledRule, call: CallView): boolean {
  // On TCP an ALLOW rule that looks at HTTP is dropped whole, not only in the alternative that does (section 7).
  if (call.request === undefined && rule.readsHttp && rule.action === "ALLOW") return false;
  return anyMatches(rule.sources, call) && anyMatches(rule.operations, call) && groupMatches(rule.conditions, call);
}
