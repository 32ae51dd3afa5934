import type { AskDecision } from "../core/decision.ts";

/** Names of those who had a say in a call that was allowed after all: the providers that the first decision named, and those that were asked in the
 *  end. Rules may name providers whose word turned out not to be needed. */
export function whoWasAsked(first: AskDecision | undefined, asked: ReadonlySet<string>): ReadonlySet<string> {
  return first === undefined ? asked : new Set([...first.providers.map(({ provider }) => provider), ...asked]);
}

/** Nobody is to be asked who was not asked before: of the call as it was allowed then, the decision beneath stands. */
export function asksNobodyNew({ providers }: AskDecision, asked: ReadonlySet<string>): boolean {
  return providers.every(({ provider }) => asked.has(provider));
}
