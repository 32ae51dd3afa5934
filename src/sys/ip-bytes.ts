import { parseIpAddress } from "../core/ip-address.ts";

/** The bytes of a socket's address in network order: 4, or 16 for IPv6. IPv4-mapped becomes IPv4; a zone (`%lo`) is
 *  dropped. Throws TypeError for anything else: such addresses come from the kernel, never from a peer. */
export function ipBytes(text: string): Uint8Array {
  const zone = text.indexOf("%");
  const address = parseIpAddress(zone === -1 ? text : text.slice(0, zone));
  if (address === undefined) throw new TypeError(`not an IP address: ${JSON.stringify(text)}`);
  const bytes = Buffer.alloc(address.words.length * 4);
  for (const [index, word] of address.words.entries()) bytes.writeUInt32BE(word, index * 4);
  return bytes;
}

/** An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) as its 4 bytes; everything else unchanged. */
export function unmapped(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== 16 || bytes[10] !== 0xff || bytes[11] !== 0xff) return bytes;
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return bytes;
  return bytes.subarray(12);
}
