import type { CountersignError } from "../../core/errors.ts";
import type { Fields, ResponseHead } from "../http1/http1-events.ts";

/** What a stream of a connection to an upstream carries: a call, or a tunnel that stands for a connection of its own. */
export interface ClientStreamUser {
  onHead(head: ResponseHead): void;
  onData(chunk: Uint8Array): void;
  onEnd(trailers: Fields | undefined): void;
  fail(error: CountersignError): void;
  onStreamWritable(): void;
  onTransportWritable(): void;
  onClosed(): void;
}
