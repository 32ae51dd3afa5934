import type { CallOutcome, ConnectionContext } from "../../core/call-outcome.ts";
import type { CallDecision } from "../../core/decision.ts";
import { CountersignError } from "../../core/errors.ts";
import { type Asked, askProviders } from "../ask-providers.ts";
import { changeCall, stillNamed } from "../change-request.ts";
import { askableProviders } from "../ext-authz/askable-providers.ts";
import { outboundQuestion, requestQuestion } from "../ext-authz/check-question.ts";
import type { BodySource } from "../ext-authz/check-with-body.ts";
import type { AnswerChanges } from "../ext-authz/provider.ts";
import { requestFacts } from "../http-facts.ts";
import type { EditedFields, PreparedCall } from "../http-service.ts";
import type { RequestHead } from "../http1/http1-events.ts";
import { Refusal } from "../refusal.ts";
import { scanRequestFields } from "../request-fields.ts";
import type { PolicyInForce } from "../runtime.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { askAboutAddresses } from "./ask-about-addresses.ts";
import { asksByAddress, decideForward, stillToAsk } from "./decide-forward.ts";
import type { ForwardCall } from "./forward-call.ts";
import type { ForwardPools } from "./forward-pools.ts";
import { namesThatEndHere } from "./own-credentials.ts";

export interface RequestAsking {
  /** Policy and providers by which it is asked. */
  readonly inForce: PolicyInForce;
  readonly pools: ForwardPools;
  /** Port of the proxy's listener; undefined: a Unix socket. */
  readonly listenPort: () => number | undefined;
  readonly context: ConnectionContext;
  readonly head: RequestHead;
  readonly outcome: CallOutcome;
  readonly body: BodySource;
  /** Nobody waits any more. */
  readonly signal: AbortSignal;
}

/** Asks the providers that rules name for a request through the egress proxy: first by the name of its destination, which is looked up only once
 *  they have allowed it, then, where rules about addresses name more of them, by what the name stands for. */
export async function askAboutRequest(call: ForwardCall, asking: RequestAsking): Promise<Asked<ForwardCall> | Refusal> {
  const { inForce, pools, signal } = asking;
  const byName = stillToAsk(decideForward(inForce.policy, call, call.shortAuthority), call.allowed);
  const named = await ask(call, byName, asking);
  if (named instanceof Refusal || named.decision.kind === "deny") return named;
  const { call: current } = named;
  if (current.connection.destinationIp !== "" || !asksByAddress(inForce.policy)) return named;
  const { destination } = current;
  const found = await new Promise<CheckedAddresses | CountersignError>((resolve) => pools.find(destination, resolve));
  // whoever looks for a connection meets the same
  if (found instanceof CountersignError || signal.aborted) return named;
  const verdicts = pools.loads.inOrder(destination, found).map((host) => {
    const there = current.as({ connection: current.at(host).connection });
    return {
      host,
      call: there,
      decision: stillToAsk(decideForward(inForce.policy, there, there.shortAuthority), current.allowed),
    };
  });
  const [first, ...others] = verdicts.flatMap(({ host, decision }) => (decision.kind === "allow" ? [host] : []));
  if (first !== undefined) {
    current.addresses = [first, ...others];
    return named;
  }
  const [one, ...more] = verdicts.flatMap(({ decision, ...at }) =>
    decision.kind === "ask" ? [{ ...at, decision }] : [],
  );
  if (one === undefined) {
    const [denied] = verdicts;
    return denied?.decision.kind === "deny" ? { ...named, decision: denied.decision } : named;
  }
  const { host, asked } = await askAboutAddresses([one, ...more], (at) => ask(at.call, at.decision, asking));
  if (!(asked instanceof Refusal)) asked.call.addresses = [host];
  return asked;
}

async function ask(
  call: ForwardCall,
  first: CallDecision,
  { inForce, listenPort, context, head, outcome, body, signal }: RequestAsking,
): Promise<Asked<ForwardCall> | Refusal> {
  const { policy, providers } = inForce;
  // what they say is not known of the call as it came: by that it is decided anew under another policy
  const own = call.as({});
  // from now on rules about addresses have somebody asked only once they match
  own.allowedBy = policy.version;
  if (first.kind !== "ask") return { call: own, decision: first, providers: call.allowed };
  const asked = await askProviders(first, own, {
    providers: askableProviders(listenPort(), providers),
    question: (current) => {
      const principals = current.destinationPrincipals ?? [];
      const connection = outboundQuestion(context, current.connection, principals, outcome);
      // the host as policy compares it
      const asked = { ...head, authority: current.request.authority };
      return requestQuestion(connection, false, asked, current, outcome);
    },
    changed: (current, changes) => changedForward(head, current, changes, inForce),
    decide: (current) => stillToAsk(decideForward(policy, current, current.shortAuthority), current.allowed),
    body,
    signal,
  });
  if (asked instanceof Refusal) return asked;
  asked.call.allowed = new Set([...call.allowed, ...asked.providers]);
  return asked;
}

/** The call as a provider's answer changes it. */
export function changedForward(
  head: RequestHead,
  call: ForwardCall,
  changes: AnswerChanges,
  inForce: PolicyInForce,
): ForwardCall {
  return call.as(changeCall(head, call, changes, (edited) => lookedThrough(head, call, edited, inForce)));
}

/** The call with other fields, as if the app had sent them so. */
function lookedThrough(
  head: RequestHead,
  call: ForwardCall,
  edited: EditedFields,
  inForce: PolicyInForce,
): PreparedCall {
  const scanned = scanRequestFields(edited.fields, stillNamed(namesThatEndHere(head), edited), true);
  const { connection, request, target } = call;
  const { path, authority } = request;
  return { ...requestFacts(connection, inForce, head, path, target, scanned, false, "http", authority), edited };
}
