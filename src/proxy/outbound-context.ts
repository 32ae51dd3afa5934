import type { Socket } from "node:net";
import type { ConnectionContext } from "../core/call-outcome.ts";
import { CountersignError } from "../core/errors.ts";
import { canonicalIpAddress } from "../core/ip-address.ts";
import type { LocalCaller } from "./local-caller.ts";
import { currentSvid, type Runtime } from "./runtime.ts";
import { addressText } from "./upstream/dial.ts";

/** `ip:port` of a socket's peer, or "unix". */
export function sourceAddressOf({ remoteAddress, remotePort }: Socket): string {
  if (remoteAddress === undefined || remotePort === undefined) return "unix";
  return addressText({ kind: "tcp", host: canonicalIpAddress(remoteAddress) ?? remoteAddress, port: remotePort });
}

/** What the records of an outbound connection's calls share: its source is the SVID that it shows now, and the local user. */
export function outboundContext(
  runtime: Runtime,
  listener: { readonly name: string; readonly svidHint: string },
  caller: LocalCaller,
  sourceAddress: string,
  destinationAddress: string,
): ConnectionContext {
  const ours = currentSvid(runtime, listener.svidHint);
  const svid = ours instanceof CountersignError ? undefined : ours.svid;
  return {
    direction: "outbound",
    listener: listener.name,
    source:
      svid === undefined
        ? undefined
        : {
            spiffeId: svid.spiffeId,
            serial: svid.serial,
            notAfterMs: svid.notAfterMs,
            issuer: (svid.chain[0]?.issuer ?? "").replaceAll("\n", ", "),
          },
    sourceAddress,
    sourceUid: caller.uid,
    sourcePid: caller.pid,
    destination: undefined,
    destinationAddress,
    appPort: undefined,
    tlsVersion: undefined,
    tlsCipher: undefined,
  };
}
