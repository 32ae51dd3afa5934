import { CountersignError } from "../../core/errors.ts";
import { printable } from "../../core/safe-text.ts";
import { fieldValue } from "../http1/field-value.ts";
import type { ResponseHead } from "../http1/http1-events.ts";
import type { StreamTransport } from "../stream-transport.ts";
import type { ClientStreamUser } from "./client-stream-user.ts";
import type { EndpointLoad } from "./endpoint-load.ts";

/** A stream of an HTTP/2 connection to another sidecar that stands for a connection of its own. */
export class TunnelClientStream implements ClientStreamUser {
  readonly #transport: StreamTransport<ClientStreamUser>;
  readonly #load: EndpointLoad;
  readonly #address: string;
  #over = false;

  constructor(transport: StreamTransport<ClientStreamUser>, load: EndpointLoad, address: string) {
    this.#transport = transport;
    this.#load = load;
    this.#address = address;
    load.begin();
  }

  onHead({ status, fields }: ResponseHead): void {
    if (status >= 200 && status < 300) {
      this.#load.succeeded();
      return;
    }
    const code = fieldValue(fields, "x-countersign-code") ?? `status ${status}`;
    const error = new CountersignError("E_TUNNEL_REFUSED", `${this.#address} refused the tunnel: ${printable(code)}`);
    this.#transport.abort(error);
  }

  onData(chunk: Uint8Array): void {
    this.#transport.onData(chunk);
  }

  onEnd(): void {
    this.#transport.onEnd();
  }

  fail(error: CountersignError): void {
    this.#callOver();
    this.#transport.onClosed(error);
  }

  #callOver(): void {
    if (this.#over) return;
    this.#over = true;
    this.#load.ended();
  }

  onStreamWritable(): void {
    this.#transport.onStreamWritable();
  }

  onTransportWritable(): void {
    this.#transport.onCarrierWritable();
  }

  onClosed(): void {
    this.#callOver();
    this.#transport.onClosed(undefined);
  }
}
