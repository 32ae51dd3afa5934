import type { Socket } from "node:net";
import type { ConnectionContext } from "../core/call-outcome.ts";
import { CountersignError } from "../core/errors.ts";
import { type LocalCaller, UNKNOWN_CALLER } from "./local-caller.ts";
import { currentSvid, type Runtime } from "./runtime.ts";
import { sourceAddressOf } from "./source-address.ts";

/** What the records of an outbound connection's calls share: the local user, and as source the SVID that the connection shows now. */
export class LocalContext {
  readonly #runtime: Runtime;
  readonly #listener: { readonly name: string; readonly svidHint: string };
  readonly #sourceAddress: string;
  readonly #destinationAddress: string;
  #caller: LocalCaller = UNKNOWN_CALLER;
  #current: ConnectionContext | undefined;
  /** The identity that it was made of. */
  #madeOf: object | undefined;

  /** `raw`: the app's connection, open; `destinationAddress`: "" where it differs from call to call. */
  constructor(
    runtime: Runtime,
    listener: { readonly name: string; readonly svidHint: string },
    raw: Socket,
    destinationAddress: string,
  ) {
    this.#runtime = runtime;
    this.#listener = listener;
    this.#sourceAddress = sourceAddressOf(raw);
    this.#destinationAddress = destinationAddress;
  }

  /** Who calls is known now. */
  attested(caller: LocalCaller): void {
    this.#caller = caller;
    this.#current = undefined;
  }

  /** Made anew when our identity has changed. */
  get current(): ConnectionContext {
    const { identity } = this.#runtime;
    if (this.#current === undefined || this.#madeOf !== identity) {
      this.#madeOf = identity;
      this.#current = this.#make();
    }
    return this.#current;
  }

  #make(): ConnectionContext {
    const ours = currentSvid(this.#runtime, this.#listener.svidHint);
    const svid = ours instanceof CountersignError ? undefined : ours.svid;
    return {
      direction: "outbound",
      listener: this.#listener.name,
      source:
        svid === undefined
          ? undefined
          : {
              spiffeId: svid.spiffeId,
              serial: svid.serial,
              notAfterMs: svid.notAfterMs,
              issuer: (svid.chain[0]?.issuer ?? "").replaceAll("\n", ", "),
            },
      sourceAddress: this.#sourceAddress,
      sourceUid: this.#caller.uid,
      sourcePid: this.#caller.pid,
      destination: undefined,
      destinationAddress: this.#destinationAddress,
      appPort: undefined,
      tlsVersion: undefined,
      tlsCipher: undefined,
    };
  }
}
