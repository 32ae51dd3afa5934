import { formatIpAddress, parseIpAddress } from "../../core/ip-address.ts";
import { crc32c } from "./crc32c.ts";

/** Where a connection came from, by the word of a proxy before us. */
export interface ProxiedSource {
  /** Canonical text. */
  readonly ip: string;
  readonly port: number;
}

/** What a connection's first bytes are. `none`: no PROXY header. */
export type ProxyHeaderReading =
  | { readonly kind: "more" }
  | { readonly kind: "none" }
  /** `used` bytes long. `source` undefined: the proxy speaks for itself (LOCAL, a health check), or does not know. */
  | { readonly kind: "header"; readonly used: number; readonly source: ProxiedSource | undefined }
  | { readonly kind: "malformed"; readonly reason: string };

/** Longest header that is read: version 1 has at most 107 bytes, version 2 its addresses and TLVs. */
export const MAX_PROXY_HEADER = 4096;

const MORE = { kind: "more" } as const;
const NONE = { kind: "none" } as const;
const V1_START = Buffer.from("PROXY ", "latin1");
const V1_MAX = 107;
const V2_SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const V2_FIXED = 16;
const LOCAL = 0;
const TYPE_CRC32C = 3;

function malformed(reason: string): ProxyHeaderReading {
  return { kind: "malformed", reason };
}

/** Reads a PROXY protocol header, version 1 or 2 (the PROXY protocol by W. Tarreau, sections 2.1 and 2.2), of a TCP connection. `bytes` are
 *  all that came so far. Strict: numbers without leading zeros, one space, addresses of the family that is named, a right checksum
 *  where there is one. Pure. */
export function readProxyHeader(bytes: Uint8Array): ProxyHeaderReading {
  if (bytes.length === 0) return MORE;
  if (startsAs(bytes, V1_START)) return bytes.length < V1_START.length ? MORE : readVersion1(bytes);
  if (startsAs(bytes, V2_SIGNATURE)) return bytes.length < V2_FIXED ? MORE : readVersion2(bytes);
  return NONE;
}

/** Whether the bytes are the beginning of `start`, or begin with it. */
function startsAs(bytes: Uint8Array, start: Uint8Array): boolean {
  const length = Math.min(bytes.length, start.length);
  for (let at = 0; at < length; at++) if (bytes[at] !== start[at]) return false;
  return true;
}

function readVersion1(bytes: Uint8Array): ProxyHeaderReading {
  const end = bytes.indexOf(0x0a);
  if (end === -1) return bytes.length < V1_MAX ? MORE : malformed("no end of the line within 107 bytes");
  if (end >= V1_MAX || bytes[end - 1] !== 0x0d) return malformed("a line that does not end in CR LF within 107 bytes");
  const used = end + 1;
  const text = Buffer.from(bytes.subarray(V1_START.length, end - 1)).toString("latin1");
  if (text === "UNKNOWN" || text.startsWith("UNKNOWN ")) return { kind: "header", used, source: undefined };
  const [family, source = "", destination = "", sourcePort = "", destinationPort = "", ...more] = text.split(" ");
  if ((family !== "TCP4" && family !== "TCP6") || more.length > 0) return malformed("neither TCP4, TCP6 nor UNKNOWN");
  const ip = addressOf(source, family);
  const port = portOf(sourcePort);
  if (ip === undefined || addressOf(destination, family) === undefined)
    return malformed(`an address that is not ${family}`);
  if (port === undefined || portOf(destinationPort) === undefined)
    return malformed("a port that is no number to 65535");
  return { kind: "header", used, source: { ip, port } };
}

function addressOf(text: string, family: "TCP4" | "TCP6"): string | undefined {
  if (text.includes(":") !== (family === "TCP6")) return undefined;
  const address = parseIpAddress(text);
  return address === undefined ? undefined : formatIpAddress(address);
}

function portOf(text: string): number | undefined {
  return /^(?:0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
}

function readVersion2(bytes: Uint8Array): ProxyHeaderReading {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint8(12) >>> 4;
  const command = view.getUint8(12) & 15;
  const family = view.getUint8(13);
  const length = view.getUint16(14);
  if (version !== 2 || command > 1) return malformed("a version or command that is not known");
  const used = V2_FIXED + length;
  if (used > MAX_PROXY_HEADER) return malformed(`a header above ${MAX_PROXY_HEADER} bytes`);
  if (bytes.length < used) return MORE;
  const addressBytes = ADDRESS_BYTES[family];
  if (addressBytes === undefined) return malformed("an address family that is not known");
  if (length < addressBytes) return malformed("too short for its addresses");
  const tlvs = checkTlvs(bytes.subarray(0, used), V2_FIXED + addressBytes);
  if (tlvs !== undefined) return malformed(tlvs);
  const width = WIDTHS[family];
  if (command === LOCAL || width === undefined) return { kind: "header", used, source: undefined };
  const words = Array.from({ length: width / 4 }, (_, index) => view.getUint32(V2_FIXED + index * 4));
  const text = formatIpAddress({ family: width === 4 ? 4 : 6, words });
  const canonical = parseIpAddress(text);
  const ip = canonical === undefined ? text : formatIpAddress(canonical);
  return { kind: "header", used, source: { ip, port: view.getUint16(V2_FIXED + 2 * width) } };
}

/** Bytes that the addresses of a family take: unspecified, IPv4 and IPv6 with stream or datagram, Unix. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 0: 0, 17: 12, 18: 12, 33: 36, 34: 36, 49: 216, 50: 216 };
/** Bytes of one address, of the families that we believe: TCP over IPv4 and IPv6. */
const WIDTHS: Readonly<Record<number, 4 | 16>> = { 17: 4, 33: 16 };

/** What is wrong with the TLVs, or undefined. Only the checksum has a meaning for us. */
function checkTlvs(header: Uint8Array, from: number): string | undefined {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  let at = from;
  while (at < header.length) {
    if (header.length - at < 3) return "a TLV that is cut off";
    const type = view.getUint8(at);
    const length = view.getUint16(at + 1);
    const value = at + 3;
    if (length > header.length - value) return "a TLV that leads out of the header";
    if (type === TYPE_CRC32C) {
      if (length !== 4) return "a checksum that has not four bytes";
      const zeroed = Uint8Array.from(header);
      zeroed.fill(0, value, value + 4);
      if (crc32c(zeroed) !== view.getUint32(value)) return "a wrong checksum";
    }
    at = value + length;
  }
  return undefined;
}
