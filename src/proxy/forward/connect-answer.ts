import type { CountersignError } from "../../core/errors.ts";
import { statusOf } from "../answer-status.ts";
import type { Deadlines } from "../deadlines.ts";
import { writeResponseHead } from "../http1/write-head.ts";
import { endGently } from "../linger.ts";
import { localAnswer } from "../local-answer.ts";
import type { Transport } from "../transport.ts";
import type { TunnelAnswer } from "./tunnel-parts.ts";

const MAX_PHRASE = 200;

/** Answers a CONNECT request (RFC 9110 section 9.3.6). The reason of a refusal stands in the status line too: of a failed CONNECT most
 *  clients show nothing else. */
export function connectAnswer(transport: Transport, deadlines: Deadlines): TunnelAnswer {
  return {
    accept(id) {
      writeResponseHead(transport.out, {
        status: 200,
        reason: "Connection established",
        fields: ["x-countersign-id", id],
        framing: { kind: "none" },
        close: false,
        upgrade: undefined,
      });
      transport.touch();
    },
    refuse(error, id, own) {
      const status = refusingStatus(own?.status ?? statusOf(error.code));
      const { response, body } = localAnswer(status, error.code, error.message, id, "CONNECT", true, own);
      writeResponseHead(transport.out, { ...response, reason: reasonPhrase(error) });
      transport.writeBytes(body);
      endGently(transport, deadlines);
    },
  };
}

/** A provider may deny with any status; one that says success would mean that the tunnel is open. */
function refusingStatus(status: number): number {
  return status < 300 ? 403 : status;
}

function reasonPhrase({ code, message }: CountersignError): string {
  return `${code}: ${message}`.replace(/[^ -~]+/g, "?").slice(0, MAX_PHRASE);
}
