import { statSync } from "node:fs";
import { grpcTarget } from "./endpoint-address.ts";

/** A text that changes when an agent makes its socket anew; "" for an address on TCP, and while there is none. */
export function socketStamp(address: string): string {
  const target = grpcTarget(address);
  if (!target.startsWith("unix://")) return "";
  try {
    const stat = statSync(target.slice("unix://".length), { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? "" : `${stat.dev} ${stat.ino} ${stat.ctimeNs}`;
  } catch {
    return ""; // a folder on the way that may not be searched
  }
}
