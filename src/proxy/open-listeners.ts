import type { SidecarConfig } from "../config/sidecar-config.ts";
import { type ListenerOptions, openListener, type SharedSocket } from "./listener.ts";
import { unixModeOf, type WantedListener, wantedListeners } from "./listener-configs.ts";
import { isSame, type OpenListener, type OpenListeners } from "./listener-set.ts";
import { recordRefusal } from "./refusals.ts";
import type { Runtime } from "./runtime.ts";
import { type ServeSurroundings, serveListener } from "./serve-listener.ts";
import { sourceAddressOf } from "./source-address.ts";
import { openSpare, tooManyConnections } from "./spare-connection.ts";
import { OpenInbounds } from "./tunnelled-connection.ts";
import { addressText } from "./upstream/dial.ts";

/** What new listeners need of the process besides its runtime. */
export interface OpenSurroundings extends ServeSurroundings {
  /** In a worker: the socket of a listener, made by the main thread. Absent: listeners open their own. */
  readonly sharedSocket: ((direction: "inbound" | "outbound", name: string) => SharedSocket) | undefined;
}

/** How a process opens its listeners. */
export function listenersOf(runtime: Runtime, surroundings: OpenSurroundings): OpenListeners {
  const inbounds = new OpenInbounds(runtime);
  return async (config, kept) => {
    const opened: OpenListener[] = [];
    const all: OpenListener[] = [];
    try {
      for (const wanted of wantedListeners(config)) {
        let one = kept.find((other) => isSame(other, wanted));
        if (one === undefined) {
          one = await openOne(runtime, inbounds, surroundings, config, wanted);
          opened.push(one);
        }
        all.push(one);
      }
    } catch (error) {
      for (const { listener, served } of opened) {
        listener.stopAccepting();
        served.pool.close();
      }
      throw error;
    }
    return all;
  };
}

async function openOne(
  runtime: Runtime,
  inbounds: OpenInbounds,
  surroundings: OpenSurroundings,
  config: SidecarConfig,
  { direction, config: one }: WantedListener,
): Promise<OpenListener> {
  const served = serveListener(runtime, inbounds, surroundings, config, direction, one);
  const { accept, pool, target, inbound } = served;
  const spare: ListenerOptions["accept"] | undefined =
    "protocol" in one && one.protocol === "tcp"
      ? undefined
      : (socket, onClosed) => openSpare(runtime, accept, socket, onClosed);
  const opening = openListener({
    name: one.name,
    direction,
    listen: one.listen,
    unixMode: unixModeOf(one),
    shared: surroundings.sharedSocket?.(direction, one.name),
    maxConnections: () => runtime.limits.connections,
    accept: (socket, onClosed) => accept(runtime, socket, onClosed),
    spare,
    onFull: (socket) => {
      recordRefusal(
        runtime,
        {
          direction,
          listener: one.name,
          source: undefined,
          sourceAddress: sourceAddressOf(socket),
          sourceUid: undefined,
          sourcePid: undefined,
          destination: undefined,
          destinationAddress: target,
          appPort: undefined,
          tlsVersion: undefined,
          tlsCipher: undefined,
        },
        tooManyConnections(runtime),
        performance.now(),
      );
    },
    onError: (error) => runtime.log.warn({ event: "listener.error", name: one.name, err: error.message }),
    onOpened: () => runtime.recorder.connectionOpened(direction, one.name),
    onClosed: () => runtime.recorder.connectionClosed(direction, one.name),
  });
  const listener = await opening.catch((error: unknown) => {
    pool.close();
    throw error;
  });
  if (inbound !== undefined) inbounds.set({ parts: inbound, listener });
  runtime.log.info({ event: "listening", name: one.name, direction, address: addressText(listener.address) });
  return { direction, config: one, listener, served };
}
