import type { AskDecision, CallDecision, Decision, ProviderRequest } from "../core/decision.ts";
import { CountersignError } from "../core/errors.ts";
import { statusOf } from "./answer-status.ts";
import { type BodySource, checkWithBody } from "./ext-authz/check-with-body.ts";
import type { AnswerChanges, AuthorizationProvider, CheckQuestion } from "./ext-authz/provider.ts";
import { Refusal } from "./refusal.ts";

/** What stands once every provider has allowed. */
export interface Asked<Call> {
  /** With what the providers changed: policy sees it so. */
  readonly call: Call;
  readonly decision: Decision;
  /** Those that were asked. */
  readonly providers: ReadonlySet<string>;
}

export interface AskParts<Call> {
  readonly providers: ReadonlyMap<string, AuthorizationProvider>;
  readonly question: (call: Call) => CheckQuestion;
  readonly changed: (call: Call, changes: AnswerChanges) => Call;
  /** By the policy that asked. */
  readonly decide: (call: Call) => CallDecision;
  /** undefined: calls without a body. */
  readonly body: BodySource | undefined;
  /** Nobody waits any more. */
  readonly signal: AbortSignal;
}

const STATUS_WITHOUT_PROVIDER = 403;

/** Asks the providers that a decision names, one after the other since each sees what the one before has changed, and decides anew by what
 *  they made of the call. Any that denies, fails, is late or does not exist refuses the call. Each is asked once. Never rejects. */
export async function askProviders<Call>(
  first: AskDecision,
  call: Call,
  parts: AskParts<Call>,
): Promise<Asked<Call> | Refusal> {
  const asked = new Set<string>();
  let current = call;
  let decision: CallDecision = first;
  while (decision.kind === "ask") {
    const next: ProviderRequest | undefined = decision.providers.find(({ provider }) => !asked.has(provider));
    if (next === undefined) return { call: current, decision: decision.decision, providers: asked };
    asked.add(next.provider);
    const provider = parts.providers.get(next.provider);
    if (provider === undefined) {
      const error = new CountersignError(
        "E_EXT_AUTHZ_FAILED",
        `no provider ${JSON.stringify(next.provider)} can be asked here`,
      );
      return new Refusal(error, STATUS_WITHOUT_PROVIDER, [], undefined, next.rule);
    }
    const { bodyInCheck } = provider;
    const question = parts.question(current);
    // oxlint-disable-next-line no-await-in-loop -- each sees what the one before has changed
    const answer = await (bodyInCheck === undefined || parts.body === undefined
      ? provider.check(question, parts.signal)
      : checkWithBody(provider, bodyInCheck, question, parts.body, parts.signal));
    switch (answer.kind) {
      case "allow":
        if (answer.changes !== undefined) {
          current = parts.changed(current, answer.changes);
          decision = parts.decide(current);
        }
        break;
      case "deny": {
        const error = new CountersignError("E_EXT_AUTHZ_DENIED", `the provider ${next.provider} denied the call`);
        return new Refusal(error, answer.status, answer.fields, answer.body, next.rule);
      }
      case "unasked": {
        const { error } = answer;
        return new Refusal(error, statusOf(error.code), [], undefined, next.rule);
      }
      case "failed": {
        const { code, message } = answer.error;
        const error = new CountersignError(code, `${next.provider}: ${message}`, { cause: answer.error });
        return new Refusal(error, provider.statusOnError, [], undefined, next.rule);
      }
    }
  }
  return { call: current, decision, providers: asked };
}
