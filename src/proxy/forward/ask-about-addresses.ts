import type { AskDecision } from "../../core/decision.ts";
import type { Asked } from "../ask-providers.ts";
import { Refusal } from "../refusal.ts";

/** A call at an address for which its providers have to be asked. */
export interface CallAtAddress<Call> {
  readonly host: string;
  readonly call: Call;
  readonly decision: AskDecision;
}

/** What became of it. */
export interface AskedAtAddress<Call> {
  readonly host: string;
  readonly asked: Asked<Call> | Refusal;
}

/** Asks about one address after the other until one is allowed: only that one may be dialled. A provider that denies one may allow the next; one
 *  that fails is not asked again. Where none is allowed, the first answer. Never rejects, if `ask` does not. */
export async function askAboutAddresses<Call>(
  candidates: readonly [CallAtAddress<Call>, ...CallAtAddress<Call>[]],
  ask: (candidate: CallAtAddress<Call>) => Promise<Asked<Call> | Refusal>,
): Promise<AskedAtAddress<Call>> {
  let first: AskedAtAddress<Call> | undefined;
  for (const candidate of candidates) {
    // oxlint-disable-next-line no-await-in-loop -- the next only where this one is denied
    const asked = await ask(candidate);
    const answer = { host: candidate.host, asked };
    if (!(asked instanceof Refusal) && asked.decision.kind === "allow") return answer;
    first ??= answer;
    if (asked instanceof Refusal && asked.error.code !== "E_EXT_AUTHZ_DENIED") return answer;
  }
  if (first === undefined) throw new TypeError("no address to ask about");
  return first;
}
