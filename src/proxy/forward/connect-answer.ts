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
    refuse(error, id) {
      const { response, body } = localAnswer(statusOf(error.code), error.code, error.message, id, "CONNECT", true);
      writeResponseHead(transport.out, { ...response, reason: reasonPhrase(error) });
      transport.writeBytes(body);
      endGently(transport, deadlines);
    },
  };
}

function reasonPhrase({ code, message }: CountersignError): string {
  return `${code}: ${message}`.replace(/[^ -~]+/g, "?").slice(0, MAX_PHRASE);
}
