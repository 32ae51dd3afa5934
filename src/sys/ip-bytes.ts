import { isIPv4, isIPv6 } from "node:net";

/** The bytes of an IP address in text, 4 or 16, an IPv4-mapped IPv6 address as its 4; a zone (`%lo`) is dropped.
 *  Throws TypeError for anything else: addresses come from the kernel, never from a peer. */
export function ipBytes(text: string): Uint8Array {
  const zone = text.indexOf("%");
  const address = zone === -1 ? text : text.slice(0, zone);
  if (isIPv4(address)) return Uint8Array.from(address.split("."), Number);
  if (!isIPv6(address)) throw new TypeError(`not an IP address: ${JSON.stringify(text)}`);
  const bytes = new Uint8Array(16);
  const gap = address.indexOf("::");
  const head = groupBytes(gap === -1 ? address : address.slice(0, gap));
  bytes.set(head);
  if (gap !== -1) {
    const tail = groupBytes(address.slice(gap + 2));
    bytes.set(tail, 16 - tail.length);
  }
  return unmapped(bytes);
}

/** An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) as its 4 bytes; everything else unchanged. */
export function unmapped(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== 16 || bytes[10] !== 0xff || bytes[11] !== 0xff) return bytes;
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return bytes;
  return bytes.subarray(12);
}

function groupBytes(groups: string): number[] {
  if (groups === "") return [];
  return groups.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}
