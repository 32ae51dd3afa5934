import { CountersignError } from "./errors.ts";
import { formatIpAddress, parseIpAddress } from "./ip-address.ts";

/** A host and port that a caller of the egress proxy asks for, in the one spelling that policies know. */
export interface EgressTarget {
  /** A name in lower case without a dot at its end, or the canonical text of an IP address. */
  readonly host: string;
  readonly isAddress: boolean;
  readonly port: number;
}

/** Longest DNS name (RFC 1035 section 2.3.4). */
const MAX_NAME = 253;

/** Reads `host`, `host:port` or `[v6]:port`. `defaultPort` undefined: a port is needed. Refused with E_EGRESS_TARGET is whatever two
 *  programs could take for two hosts: 127.1, 0x7f000001 and 2130706433 are addresses to a C library, and names to others. */
export function readTarget(authority: string, defaultPort: number | undefined): EgressTarget | CountersignError {
  const [, bracketed, plain = "", digits] =
    /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._~-]+))(?::([0-9]{1,5}))?$/.exec(authority) ?? [];
  if (bracketed === undefined && plain === "") return refused("is no host and port");
  if (digits === undefined && defaultPort === undefined) return refused("has no port");
  return makeTarget(
    bracketed ?? plain,
    digits === undefined ? (defaultPort ?? 0) : Number(digits),
    bracketed !== undefined,
  );
}

/** As above, for host and port that came apart. */
export function makeTarget(host: string, port: number, bracketed: boolean): EgressTarget | CountersignError {
  if (port < 1 || port > 65_535) return refused("has a port that is not between 1 and 65535");
  const address = bracketed && !host.includes(":") ? undefined : parseIpAddress(host);
  if (address !== undefined) return { host: formatIpAddress(address), isAddress: true, port };
  if (bracketed) return refused("has no IPv6 address in its brackets");
  const name = (host.endsWith(".") ? host.slice(0, -1) : host).toLowerCase();
  if (name.length === 0 || name.length > MAX_NAME || !/^[a-z0-9_~-]+(?:\.[a-z0-9_~-]+)*$/.test(name)) {
    return refused("has a host that is no name");
  }
  // the URL standard's "ends in a number"
  if (/(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/.test(name)) {
    return refused("has a host that some programs take for an IPv4 address; write four decimal numbers");
  }
  return { host: name, isAddress: false, port };
}

/** `host:port`, as policies compare it and records show it, however the caller wrote it. */
export function destinationText(target: EgressTarget): string {
  return `${hostText(target)}:${target.port}`;
}

/** The same without its port. */
export function hostText({ host }: EgressTarget): string {
  return host.includes(":") ? `[${host}]` : host;
}

function refused(why: string): CountersignError {
  return new CountersignError("E_EGRESS_TARGET", `the destination ${why}`);
}
