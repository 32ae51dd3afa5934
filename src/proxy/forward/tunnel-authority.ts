import type { CallFacts } from "../../core/call-facts.ts";
import type { CallOutcome } from "../../core/call-outcome.ts";
import type { AskDecision, CallDecision } from "../../core/decision.ts";
import { destinationText } from "../../core/egress-target.ts";
import { asCountersignError } from "../../core/errors.ts";
import { type Asked, askProviders } from "../ask-providers.ts";
import { askableProviders } from "../ext-authz/askable-providers.ts";
import { outboundQuestion } from "../ext-authz/check-question.ts";
import type { CheckQuestion } from "../ext-authz/provider.ts";
import { Refusal } from "../refusal.ts";
import { decideForward, stillToAsk } from "./decide-forward.ts";
import { principalsOf } from "./destination-facts.ts";
import type { TunnelParts } from "./tunnel-parts.ts";

const STATUS_NOT_ASKED = 403;

/** Decides about one tunnel, and asks the providers that its decisions name. One that has allowed it is not asked again under the same
 *  policy: what more is learned of a tunnel (its address, the server's name in its TLS) may only bring others in. */
export class TunnelAuthority {
  readonly #parts: TunnelParts;
  /** Who has allowed it, and the policy that had them asked. */
  #allowed: ReadonlySet<string> = new Set();
  #allowedBy = "";

  constructor(parts: TunnelParts) {
    this.#parts = parts;
  }

  /** By the policy in force, at the time of now. */
  decide(facts: CallFacts): CallDecision {
    const { policy } = this.#parts.runtime.inForce;
    const decision = decideForward(policy, facts);
    return policy.version === this.#allowedBy ? stillToAsk(decision, this.#allowed) : decision;
  }

  /** Asks those that a decision of `decide` names. Never rejects. `signal`: nobody waits any more. */
  async ask(
    decision: AskDecision,
    facts: CallFacts,
    outcome: CallOutcome,
    signal: AbortSignal,
  ): Promise<Asked<CallFacts> | Refusal> {
    const { listenPort, runtime } = this.#parts;
    try {
      const asked = await askProviders(decision, facts, {
        providers: askableProviders(listenPort(), runtime.inForce.providers),
        question: () => this.#question(facts, outcome),
        // what is said of headers has no meaning here
        changed: (call) => call,
        decide: () => decision,
        body: undefined,
        signal,
      });
      // an answer that nobody waits for any more may be to another policy
      if (!(asked instanceof Refusal) && !signal.aborted) this.#remember(decision);
      return asked;
    } catch (error) {
      const problem = asCountersignError(error, "E_EXT_AUTHZ_FAILED", "no provider could be asked about this tunnel");
      return new Refusal(problem, STATUS_NOT_ASKED, [], undefined, decision.providers[0].rule);
    }
  }

  #remember({ providers, policyVersion }: AskDecision): void {
    const before = policyVersion === this.#allowedBy ? this.#allowed : [];
    this.#allowed = new Set([...before, ...providers.map(({ provider }) => provider)]);
    this.#allowedBy = policyVersion;
  }

  /** What policy sees of it: the request CONNECT host:port, whatever the caller speaks. */
  #question({ connection }: CallFacts, outcome: CallOutcome): CheckQuestion {
    const { context, destination, fields, method } = this.#parts;
    const principals = principalsOf(destination) ?? [];
    return {
      ...outboundQuestion(context, connection, principals, outcome),
      request: {
        id: outcome.id,
        method: "CONNECT",
        scheme: "http",
        authority: destinationText(destination),
        target: "",
        fields,
        protocol: method === undefined ? "SOCKS5" : "HTTP/1.1",
        size: -1,
      },
    };
  }
}
