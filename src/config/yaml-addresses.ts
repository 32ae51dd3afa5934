import { isIP, isIPv4, isIPv6 } from "node:net";
import { isAbsolute } from "node:path";
import type { Address } from "./sidecar-config.ts";
import { parsed, Refusal } from "./yaml-scalars.ts";
import type { Shape } from "./yaml-shape.ts";

/** sun_path holds 108 bytes with its final NUL (unix(7)). */
const MAX_UNIX_PATH_BYTES = 107;
const HOST_NAME = /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*\.?$/;

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Where to listen: `127.0.0.1:8080`, `[::1]:80` (port 0 lets the system choose) or `unix:///path`. */
export function listenAddress(): Shape<Address> {
  return parsed("an address", "127.0.0.1:8080, [::1]:8080 or unix:///path", (text) => {
    if (text.startsWith("unix:")) return unixAddress(text);
    const address = hostPort(text, 0);
    if (address instanceof Refusal) return address;
    if (isIP(address.host) === 0) {
      return new Refusal("listens on a name, which can stand for several addresses", "write an IP address");
    }
    return { kind: "tcp", ...address };
  });
}

/** Where to dial: a host name or IP with a port, or `unix:///path`. */
export function dialAddress(): Shape<Address> {
  return parsed("an address", "127.0.0.1:8080, [::1]:8080 or unix:///path", (text) => {
    if (text.startsWith("unix:")) return unixAddress(text);
    const address = hostPort(text, 1);
    return address instanceof Refusal ? address : { kind: "tcp", ...address };
  });
}

/** `unix:///path` only, for what must not be reachable over the network. */
export function unixSocket(): Shape<Address & { readonly kind: "unix" }> {
  return parsed("a Unix socket", "unix:///path", (text) => unixAddress(text));
}

/** A host name or IP with a port: `payments.shop:15006`. */
export function hostAndPort(): Shape<HostPort> {
  return parsed("a host with its port", "payments.shop:15006", (text) => hostPort(text, 1));
}

/** An IP address, or a block of them. */
export const cidr = parsed("an IP address or CIDR", "10.0.0.0/8", (value) => {
  const [host = "", bits, more] = value.split("/");
  if (isIP(host) === 0 || host.includes("%") || more !== undefined) return new Refusal("is no IP address or CIDR");
  if (bits === undefined) return value;
  const most = isIPv4(host) ? 32 : 128;
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(bits) || Number(bits) > most)
    return new Refusal(`has a prefix that is not 0 to ${most}`);
  return value;
});

export function unixAddress(text: string): (Address & { readonly kind: "unix" }) | Refusal {
  if (!text.startsWith("unix://")) return new Refusal("is no unix:// address", "write unix:///absolute/path");
  const path = text.slice("unix://".length);
  if (!isAbsolute(path)) {
    return new Refusal("has a path that is not absolute", "write three slashes: unix:///absolute/path");
  }
  if (/[\p{Cc}?#]/u.test(path)) return new Refusal("has a character that no socket path may have");
  if (path.endsWith("/")) return new Refusal("names a folder, not a socket");
  if (Buffer.byteLength(path) > MAX_UNIX_PATH_BYTES) {
    return new Refusal(`has a path longer than ${MAX_UNIX_PATH_BYTES} bytes, the limit of the system`, "shorten it");
  }
  return { kind: "unix", path };
}

/** Splits at the port. An IPv6 address stands in brackets; the result has none. */
export function hostPort(text: string, minPort: 0 | 1): HostPort | Refusal {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(text) ?? [];
  if (digits === undefined) {
    if (isIPv6(text))
      return new Refusal("is an IPv6 address without port", "write it in brackets with its port: [::1]:8080");
    if (/^(?:\[.*\]|[^:]*)$/.test(text)) return new Refusal("has no port");
    return new Refusal("is no host:port");
  }
  const host = bracketed ?? plain ?? "";
  if (host === "" || host === "*") return new Refusal("has no host", `write 0.0.0.0:${digits} for every address`);
  if (bracketed !== undefined && (!isIPv6(host) || host.includes("%")))
    return new Refusal("has no IPv6 address in its brackets");
  if (plain !== undefined && isIP(host) === 0) {
    if (/^[0-9.]+$/.test(host)) return new Refusal("has an IPv4 address that is not four numbers from 0 to 255");
    if (!HOST_NAME.test(host)) return new Refusal("has a host that is neither a name nor an IP address");
  }
  const port = Number(digits);
  if (port < minPort || port > 65_535) return new Refusal(`has a port that is not between ${minPort} and 65535`);
  return { host, port };
}

/** The address as people write it; the reverse of reading it. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `unix://${address.path}`;
  return isIPv6(address.host) ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** 127.0.0.0/8 or ::1 as a literal. A name is never loopback: what it stands for can change. */
export function isLoopback(host: string): boolean {
  return (isIP(host) === 4 && host.startsWith("127.")) || (isIPv6(host) && canonicalHost(host) === "::1");
}

/** One spelling for each IP address, so that two can be compared. Names in lower case. */
export function canonicalHost(host: string): string {
  return isIPv6(host) ? new URL(`http://[${host}]/`).hostname.slice(1, -1) : host.toLowerCase();
}
