import { effectiveMtls } from "../authz/authentication.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import type { CountersignError } from "../core/errors.ts";
import {
  type InboundCaller,
  type InboundListenerParts,
  InboundServing,
  type TunnelGate,
  type TunnelTransport,
} from "./inbound-serving.ts";
import type { Listener } from "./listener.ts";
import { monotonicMs } from "./monotonic.ts";
import type { OpenConnection } from "./open-connection.ts";
import type { Runtime } from "./runtime.ts";
import { addressText } from "./upstream/dial.ts";

/** An inbound listener as tunnels reach it. */
export interface ReachableInbound {
  readonly parts: InboundListenerParts;
  readonly listener: Listener;
}

/** The inbound listeners that are open, by name. */
export class OpenInbounds {
  readonly #runtime: Runtime;
  readonly #byName = new Map<string, ReachableInbound>();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** A listener of that name is open; one that had the name before is not reached any more. */
  set(inbound: ReachableInbound): void {
    this.#byName.set(inbound.parts.config.name, inbound);
  }

  /** Where tunnels lead that come to the listener `name`: to itself and to the inbounds that it lists. */
  gateOf(name: string, listed: readonly string[]): TunnelGate {
    return {
      open: (wanted, caller, transport) => {
        const target = wanted === "" ? name : wanted;
        if (target !== name && !listed.includes(target)) return false;
        const inbound = this.#byName.get(target);
        // a listener that takes plaintext alone has nothing to do with callers of the mesh
        if (inbound === undefined || effectiveMtls(this.#runtime.inForce.policy, inbound.parts.config) === "disable") {
          return false;
        }
        return inbound.listener.adopt(
          (onClosed) => new TunnelledConnection(this.#runtime, inbound.parts, caller, transport, onClosed),
        );
      },
    };
  }
}

/** A stream of a caller's shared connection that stands for a connection to an inbound listener: classified, decided, recorded and ended as one of
 *  its own. What becomes of the shared connection becomes of it: its identity and its end are that one's. */
class TunnelledConnection implements OpenConnection {
  readonly #runtime: Runtime;
  readonly #parts: InboundListenerParts;
  readonly #serving: InboundServing;
  readonly #transport: TunnelTransport;
  #draining = false;

  constructor(
    runtime: Runtime,
    parts: InboundListenerParts,
    caller: InboundCaller,
    transport: TunnelTransport,
    onClosed: () => void,
  ) {
    const { config } = parts;
    this.#runtime = runtime;
    this.#parts = parts;
    this.#transport = transport;
    const own: InboundCaller = {
      ...caller,
      context: {
        ...caller.context,
        listener: config.name,
        destinationAddress: addressText(config.app),
        appPort: config.appPort === 0 ? undefined : config.appPort,
      },
      facts: { ...caller.facts, destinationPort: config.appPort },
      startedMs: monotonicMs(),
    };
    this.#serving = new InboundServing(runtime, parts, own, runtime.draining);
    transport.onceClosed = onClosed;
    this.#serving.start(transport, "", undefined);
  }

  get calls(): number {
    return this.#serving.calls;
  }

  drain(): void {
    this.#draining = true;
    if (!this.#serving.drain()) this.#transport.destroy();
  }

  cut(code: ErrorCode, detail: string): void {
    this.#serving.cut(code, detail);
    this.#transport.destroy();
  }

  onIdentity(): void {
    // the connection that carries it is verified again, and ends with it
  }

  onIdentityLost(problem: CountersignError): void {
    this.cut(problem.code, problem.message);
  }

  onPolicy(): void {
    // as of a socket's connection: what was said by mutual TLS stays said, and the next one comes as the policy wants it
    const isPlaintextOnly = effectiveMtls(this.#runtime.inForce.policy, this.#parts.config) === "disable";
    if (isPlaintextOnly && !this.#draining) this.drain();
    this.#serving.reauthorize();
  }

  onTick(nowWallMs: number): void {
    this.#serving.onTick(nowWallMs);
  }
}
