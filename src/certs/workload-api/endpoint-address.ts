import { isIP } from "node:net";
import { CountersignError } from "../../core/errors.ts";

/** sun_path holds 108 bytes with its final zero. */
const MAX_SOCKET_PATH = 107;

/** The target that gRPC dials for a Workload API address (SPIFFE Workload Endpoint section 4): unix:///absolute/path, or
 *  tcp://IP:port on loopback, since the channel has no TLS. Throws CountersignError E_WORKLOAD_API_ADDRESS. */
export function grpcTarget(address: string): string {
  const [, scheme, rest = ""] = /^([a-z]+):(.*)$/s.exec(address) ?? [];
  if (scheme === "unix") return unixTarget(address, rest);
  if (scheme === "tcp") return tcpTarget(address, rest);
  throw refused(`${shown(address)} is neither unix:// nor tcp://`);
}

function unixTarget(address: string, rest: string): string {
  const path = rest.slice(2);
  if (!rest.startsWith("///")) {
    const wanted = `unix:///${rest.replace(/^\/*/, "")}`;
    throw refused(`${shown(address)} needs three slashes before an absolute path`, `write ${shown(wanted)}`);
  }
  // As a URI these would mean something else than a file of that name.
  if (/[?#%\0]/.test(path)) throw refused(`${shown(address)} has a query, a fragment or percent encoding`);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
    throw refused(`${shown(address)} is longer than the ${MAX_SOCKET_PATH} bytes that a socket path may have`);
  if (path === "/") throw refused(`${shown(address)} has no path`);
  return `unix://${path}`;
}

function tcpTarget(address: string, rest: string): string {
  const [, ipv6, ipv4, portText] = /^\/\/(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(rest) ?? [];
  const host = ipv6 ?? ipv4 ?? "";
  const port = Number(portText);
  const family = isIP(host);
  if (family === 0 || !(port > 0 && port < 65536)) throw refused(`${shown(address)} is not tcp://IP:port`);
  const isLoopback = family === 4 ? host.startsWith("127.") : host === "::1";
  if (!isLoopback) throw refused(`${shown(address)} is beyond loopback, where keys would travel in the clear`);
  return family === 4 ? `ipv4:${host}:${port}` : `ipv6:[${host}]:${port}`;
}

function shown(address: string): string {
  return JSON.stringify(address.slice(0, 200));
}

function refused(message: string, fix?: string): CountersignError {
  return new CountersignError("E_WORKLOAD_API_ADDRESS", message, { fix });
}
