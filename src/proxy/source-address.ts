import type { Socket } from "node:net";
import { canonicalIpAddress } from "../core/ip-address.ts";
import { addressText } from "./upstream/dial.ts";

/** Where an accepted connection comes from, as records name it: `ip:port`, or "unix". */
export function sourceAddressOf({ remoteAddress, remotePort }: Pick<Socket, "remoteAddress" | "remotePort">): string {
  if (remoteAddress === undefined || remotePort === undefined) return "unix";
  return addressText({ kind: "tcp", host: canonicalIpAddress(remoteAddress) ?? remoteAddress, port: remotePort });
}
