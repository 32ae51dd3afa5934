import { isDeepStrictEqual } from "node:util";
import type { Address, SidecarConfig } from "../config/sidecar-config.ts";
import type { Listener } from "./listener.ts";
import { type WantedListener, wantedListeners } from "./listener-configs.ts";
import type { OpenConnection } from "./open-connection.ts";
import type { Served } from "./serve-listener.ts";
import { addressText } from "./upstream/dial.ts";

/** A listener that is open, with what hangs on it. */
export interface OpenListener extends WantedListener {
  readonly listener: Listener;
  readonly served: Pick<Served, "pool" | "retune">;
}

/** Opens what a configuration wants and `kept` does not hold; resolves with all that it wants, in its order. Rejects with CountersignError E_LISTEN
 *  when one can't be opened: then it has opened none. */
export type OpenListeners = (config: SidecarConfig, kept: readonly OpenListener[]) => Promise<readonly OpenListener[]>;

/** Which listeners are open, over changes of configuration. */
export class ListenerSet {
  #inForce: readonly OpenListener[] = [];
  /** Those that a change removed and that still have connections. */
  readonly #retired = new Set<OpenListener>();

  /** What the configuration in force wants, in its order. */
  get inForce(): readonly OpenListener[] {
    return this.#inForce;
  }

  /** Also what still has connections. */
  get all(): readonly OpenListener[] {
    return [...this.#inForce, ...this.#retired];
  }

  /** All connections as they are now. */
  get connections(): readonly OpenConnection[] {
    return this.all.flatMap(({ listener }) => listener.connections.list());
  }

  get calls(): number {
    return this.connections.reduce((sum, connection) => sum + connection.calls, 0);
  }

  get isBusy(): boolean {
    return this.all.some(({ listener }) => listener.connections.size > 0);
  }

  /** Opens what a change of configuration adds. Resolves with what puts the change in force. When one can't be opened all is as it was `before`,
   *  and it rejects as `open`. */
  async prepare(open: OpenListeners, before: SidecarConfig, next: SidecarConfig): Promise<() => void> {
    const wanted = wantedListeners(next);
    const kept = this.#inForce.filter((one) => wanted.some((other) => isSame(one, other)));
    // an address can change hands between listeners: those that lose it let go of it first
    const gone = this.#inForce.filter((one) => !kept.includes(one));
    const freed = gone.filter(({ listener }) => namesAddress(wanted, listener.address));
    for (const { listener } of freed) listener.stopAccepting();
    let opened: readonly OpenListener[];
    try {
      opened = await open(next, kept);
    } catch (error) {
      if (freed.length > 0) await this.#restore(open, before, freed);
      throw error;
    }
    return () => {
      this.#inForce = opened;
      for (const { served } of kept) served.retune(next);
      for (const one of gone) this.#retire(one);
    };
  }

  /** Opens listeners again that let go of their address for nothing. Their connections end as those of one that is removed. */
  async #restore(open: OpenListeners, config: SidecarConfig, freed: readonly OpenListener[]): Promise<void> {
    const left = this.#inForce.filter((one) => !freed.includes(one));
    // what can't be opened again is missing from then on, so that the next change opens it
    this.#inForce = left;
    for (const one of freed) this.#retire(one);
    this.#inForce = await open(config, left);
  }

  #retire(one: OpenListener): void {
    one.listener.stopAccepting();
    for (const connection of one.listener.connections.list()) connection.drain();
    one.served.pool.close();
    this.#retired.add(one);
  }

  /** Lets go of what a change removed and has no connection any more. */
  forgetEnded(): void {
    for (const one of this.#retired) if (one.listener.connections.size === 0) this.#retired.delete(one);
  }

  stopAccepting(): void {
    for (const { listener } of this.all) listener.stopAccepting();
  }

  /** Closes all that leads on, also for calls that are still open. */
  closeUpstreams(): void {
    for (const { served } of this.all) served.pool.close();
  }
}

/** Nothing about it would be different. */
export function isSame(one: WantedListener, other: WantedListener): boolean {
  return one.direction === other.direction && isDeepStrictEqual(one.config, other.config);
}

function namesAddress(wanted: readonly WantedListener[], address: Address): boolean {
  const text = addressText(address);
  return wanted.some(({ config }) => addressText(config.listen) === text);
}
