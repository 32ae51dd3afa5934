import type { ConnectionFacts } from "../../core/call-facts.ts";
import type { CallOutcome, ConnectionContext } from "../../core/call-outcome.ts";
import type { PreparedCall } from "../http-service.ts";
import type { RequestHead } from "../http1/http1-events.ts";
import type { CheckQuestion } from "./provider.ts";

/** A call has its destination's address from when it was reached: from then on it is open. */
type CallSoFar = Pick<CallOutcome, "startedUs" | "destinationAddress">;

/** What providers are told of every call of a connection. `clientCert`: its x-forwarded-client-cert, undefined without an identity. */
export function connectionQuestion(
  context: ConnectionContext,
  facts: ConnectionFacts,
  clientCert: string | undefined,
  outcome: CallSoFar,
): CheckQuestion {
  const { sourceAddress } = context;
  return {
    source: {
      ip: facts.sourceIp,
      port: Number(sourceAddress.slice(sourceAddress.lastIndexOf(":") + 1)) || 0,
      principal: facts.peer?.spiffeId ?? "",
    },
    destination: {
      ip: facts.destinationIp,
      port: facts.destinationPort,
      principal: context.destination?.spiffeId ?? "",
    },
    sni: facts.sni,
    startedUs: outcome.startedUs,
    clientCert,
    request: undefined,
    openCall: outcome.destinationAddress === undefined ? undefined : outcome,
  };
}

/** What providers are told of every call of an outbound connection: who we are, and whom the server must prove to be, where that is one. */
export function outboundQuestion(
  context: ConnectionContext,
  facts: ConnectionFacts,
  principals: readonly string[],
  outcome: CallSoFar,
): CheckQuestion {
  const question = connectionQuestion(context, facts, undefined, outcome);
  const [only, ...more] = principals;
  const expected = only === undefined || more.length > 0 ? "" : `spiffe://${only}`;
  return {
    ...question,
    source: { ...question.source, principal: context.source?.spiffeId ?? "" },
    destination: { ...question.destination, principal: expected },
  };
}

/** The same of one HTTP call. */
export function requestQuestion(
  connection: CheckQuestion,
  isTls: boolean,
  head: RequestHead,
  call: PreparedCall,
  outcome: CallOutcome,
): CheckQuestion {
  const { framing } = head;
  return {
    ...connection,
    request: {
      id: outcome.id,
      method: head.method,
      scheme: isTls ? "https" : "http",
      authority: head.authority,
      target: call.target,
      fields: call.scanned.kept,
      protocol: head.version === 2 ? "HTTP/2" : head.minor === 0 ? "HTTP/1.0" : "HTTP/1.1",
      size: framing.kind === "length" ? framing.length : framing.kind === "none" ? 0 : -1,
    },
  };
}
