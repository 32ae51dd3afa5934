import type { AskDecision } from "../core/decision.ts";

export const NOBODY_ASKED: ReadonlySet<string> = new Set();

/** Nobody is to be asked who was not asked before: of the call as it was allowed then, the decision beneath stands. */
export function asksNobodyNew({ providers }: AskDecision, asked: ReadonlySet<string>): boolean {
  return providers.every(({ provider }) => asked.has(provider));
}
