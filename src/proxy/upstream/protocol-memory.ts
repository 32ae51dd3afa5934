import { monotonicMs } from "../monotonic.ts";

/** How long an upstream that turned out not to speak HTTP/2 is taken for one that doesn't. */
const HTTP1_MEMORY_MS = 60_000;
const SILENT_MEMORY_MS = 2000;
/** How long a peer that is no sidecar of our kind is taken for none. */
const NO_TUNNELS_MEMORY_MS = 600_000;

/** What the other side of a pool turned out not to speak, for a while: finding out costs a handshake. */
export class ProtocolMemory {
  readonly #nowMs: () => number;
  #http1UntilMs = Number.NEGATIVE_INFINITY;
  #noTunnelsUntilMs = Number.NEGATIVE_INFINITY;
  #refusesAlpn = false;

  constructor(nowMs: () => number = monotonicMs) {
    this.#nowMs = nowMs;
  }

  /** It speaks HTTP/1.1 only. */
  get isHttp1(): boolean {
    return this.#http1UntilMs > this.#nowMs();
  }

  /** It is no sidecar of our kind. */
  get takesNoTunnels(): boolean {
    return this.#noTunnelsUntilMs > this.#nowMs();
  }

  /** It has refused our ALPN names: it is dialled without, as long as its pool lives. */
  get refusesAlpn(): boolean {
    return this.#refusesAlpn;
  }

  noteRefusesAlpn(): void {
    this.#refusesAlpn = true;
  }

  noteHttp1(): void {
    this.#http1UntilMs = this.#nowMs() + HTTP1_MEMORY_MS;
  }

  /** It said nothing at all: it may have been about to start, or to end, and is asked again soon. */
  noteSilent(): void {
    this.#http1UntilMs = this.#nowMs() + SILENT_MEMORY_MS;
  }

  noteNoTunnels(): void {
    this.#noTunnelsUntilMs = this.#nowMs() + NO_TUNNELS_MEMORY_MS;
  }
}
