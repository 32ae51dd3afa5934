import { type IpAddress, parseIpAddress } from "../../core/ip-address.ts";

export type ProxyHeaderVersion = "v1" | "v2";

interface End {
  /** Canonical text. */
  readonly ip: string;
  readonly port: number;
}

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const PROXY = 0x21;
const LOCAL = 0x20;

/** A PROXY protocol header for a TCP connection, in either version. Ends of two families, or one that is no IP address, are said to be
 *  unknown (UNKNOWN, LOCAL): the receiver then takes the connection as its own. */
export function writeProxyHeader(version: ProxyHeaderVersion, source: End, destination: End): Uint8Array {
  const from = parseIpAddress(source.ip);
  const to = parseIpAddress(destination.ip);
  const known = from !== undefined && to !== undefined && from.family === to.family;
  if (version === "v1") {
    if (!known) return Buffer.from("PROXY UNKNOWN\r\n", "latin1");
    const family = from.family === 4 ? "TCP4" : "TCP6";
    return Buffer.from(
      `PROXY ${family} ${source.ip} ${destination.ip} ${source.port} ${destination.port}\r\n`,
      "latin1",
    );
  }
  if (!known) return Uint8Array.from([...SIGNATURE, LOCAL, 0, 0, 0]);
  const addresses = [...bytesOf(from), ...bytesOf(to), ...u16(source.port), ...u16(destination.port)];
  return Uint8Array.from([
    ...SIGNATURE,
    PROXY,
    from.family === 4 ? 0x11 : 0x21,
    ...u16(addresses.length),
    ...addresses,
  ]);
}

function u16(value: number): readonly number[] {
  return [value >>> 8, value & 255];
}

function bytesOf({ words }: IpAddress): readonly number[] {
  return words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
}
