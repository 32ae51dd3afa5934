import type { IpAddress } from "../core/ip-address.ts";

/** The first `count` bits of an address as text, after a letter for its family, so that a block is a prefix of its addresses. */
export function addressBits(address: IpAddress, count: number): string {
  const words = address.words.map((word) => word.toString(2).padStart(32, "0"));
  return `${address.family === 4 ? "4" : "6"}${words.join("").slice(0, count)}`;
}
