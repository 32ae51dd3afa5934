import { meshHostKey } from "../../config/forward-shape.ts";
import type { ForwardRules, MeshHost } from "../../config/sidecar-config.ts";
import { CountersignError } from "../../core/errors.ts";
import { formatIpAddress, parseIpAddress } from "../../core/ip-address.ts";

/** Where a caller of the egress proxy wants to go. */
export interface Destination {
  /** A name in lower case without a dot at its end, or the canonical text of an IP address. */
  readonly host: string;
  readonly isAddress: boolean;
  readonly port: number;
  /** Set where the configuration says which identity the server must prove. */
  readonly mesh: MeshHost | undefined;
}

/** Longest DNS name (RFC 1035 section 2.3.4). */
const MAX_NAME = 253;

/** Reads `host`, `host:port` or `[v6]:port`. `defaultPort` undefined: a port is needed. Refused with E_EGRESS_TARGET is whatever two
 *  programs could take for two hosts: 127.1, 0x7f000001 and 2130706433 are addresses to a C library, and names to others. */
export function readDestination(
  authority: string,
  defaultPort: number | undefined,
  rules: ForwardRules,
): Destination | CountersignError {
  const [, bracketed, plain = "", digits] =
    /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._~-]+))(?::([0-9]{1,5}))?$/.exec(authority) ?? [];
  if (bracketed === undefined && plain === "") return refused("is no host and port");
  if (digits === undefined && defaultPort === undefined) return refused("has no port");
  return makeDestination(
    bracketed ?? plain,
    digits === undefined ? (defaultPort ?? 0) : Number(digits),
    rules,
    bracketed !== undefined,
  );
}

/** As above, for host and port that came apart. */
export function makeDestination(
  host: string,
  port: number,
  rules: ForwardRules,
  bracketed: boolean,
): Destination | CountersignError {
  if (port < 1 || port > 65_535) return refused("has a port that is not between 1 and 65535");
  const address = bracketed && !host.includes(":") ? undefined : parseIpAddress(host);
  if (address !== undefined) {
    const canonical = formatIpAddress(address);
    return { host: canonical, isAddress: true, port, mesh: rules.hosts.get(meshHostKey(canonical, port)) };
  }
  if (bracketed) return refused("has no IPv6 address in its brackets");
  const name = (host.endsWith(".") ? host.slice(0, -1) : host).toLowerCase();
  if (name.length === 0 || name.length > MAX_NAME || !/^[a-z0-9_~-]+(?:\.[a-z0-9_~-]+)*$/.test(name)) {
    return refused("has a host that is no name");
  }
  // the URL standard's "ends in a number"
  if (/(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/.test(name)) {
    return refused("has a host that some programs take for an IPv4 address; write four decimal numbers");
  }
  return { host: name, isAddress: false, port, mesh: rules.hosts.get(meshHostKey(name, port)) };
}

/** `host:port`, as policies compare it and records show it, however the caller wrote it. */
export function destinationText(destination: Destination): string {
  return `${hostText(destination)}:${destination.port}`;
}

/** The same without its port. */
export function hostText({ host }: Destination): string {
  return host.includes(":") ? `[${host}]` : host;
}

function refused(why: string): CountersignError {
  return new CountersignError("E_EGRESS_TARGET", `the destination ${why}`);
}
