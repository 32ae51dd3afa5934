import { networkInterfaces } from "node:os";
import { type IpAddress, parseIpAddress } from "../../core/ip-address.ts";

/** Addresses of this machine's interfaces now. */
export function machineAddresses(): readonly IpAddress[] {
  return Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).flatMap(({ address }) => parseIpAddress(address) ?? []),
  );
}
