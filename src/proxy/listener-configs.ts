import type { ForwardConfig, InboundConfig, OutboundConfig, SidecarConfig } from "../config/sidecar-config.ts";

export type ListenerConfig = InboundConfig | OutboundConfig | ForwardConfig;

export interface WantedListener {
  readonly direction: "inbound" | "outbound";
  readonly config: ListenerConfig;
}

/** All listeners of a configuration, in its order. */
export function wantedListeners({ inbound, outboundAsWritten }: SidecarConfig): readonly WantedListener[] {
  return [
    ...inbound.map((config): WantedListener => ({ direction: "inbound", config })),
    ...outboundAsWritten.map((config): WantedListener => ({ direction: "outbound", config })),
  ];
}

/** Mode of a listener's Unix socket: everybody may connect where callers are checked by uid. */
export function unixModeOf(config: ListenerConfig): number {
  return "allowUids" in config && config.allowUids !== undefined ? 0o666 : 0o660;
}
