import { formatIpAddress } from "../../../core/ip-address.ts";

/** The server's side of SOCKS5 (RFC 1928): CONNECT alone, without authentication. Bytes in, values out; the owner keeps the bytes
 *  of an incomplete message, of which there are never more than MAX_SOCKS5_MESSAGE. */

/** First byte of everything that a SOCKS5 client says. */
export const SOCKS5_VERSION = 5;
/** The longest message: a request with a name of 255 bytes. */
export const MAX_SOCKS5_MESSAGE = 262;

/** Replies of RFC 1928 section 6 that we give. */
export const SOCKS5_REPLY = {
  succeeded: 0,
  generalFailure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  connectionRefused: 5,
  commandNotSupported: 7,
  addressTypeNotSupported: 8,
} as const;
export type Socks5Reply = (typeof SOCKS5_REPLY)[keyof typeof SOCKS5_REPLY];

const NO_AUTHENTICATION = 0;
const NO_ACCEPTABLE_METHOD = 0xff;
const CONNECT = 1;
const IPV4 = 1;
const DOMAIN_NAME = 3;
const IPV6 = 4;

export interface Socks5More {
  readonly kind: "more";
}
const MORE: Socks5More = { kind: "more" };

/** `used`: bytes of the message; what follows belongs to the next one. */
export type Socks5Greeting =
  | Socks5More
  | { readonly kind: "greeting"; readonly used: number; readonly acceptable: boolean }
  | { readonly kind: "malformed"; readonly reason: string };

/** Reads the client's list of methods (section 3). Acceptable if it offers to do without authentication. */
export function readSocks5Greeting(bytes: Uint8Array): Socks5Greeting {
  const [version, methods] = bytes;
  if (version === undefined) return MORE;
  if (version !== SOCKS5_VERSION) return { kind: "malformed", reason: `version ${version} instead of 5` };
  if (methods === undefined) return MORE;
  if (methods === 0) return { kind: "malformed", reason: "the greeting offers no method" };
  const used = 2 + methods;
  if (bytes.length < used) return MORE;
  return { kind: "greeting", used, acceptable: bytes.subarray(2, used).includes(NO_AUTHENTICATION) };
}

/** The answer to a greeting. After the negative one the connection is to be closed. */
export function socks5Method(acceptable: boolean): Uint8Array {
  return Uint8Array.of(SOCKS5_VERSION, acceptable ? NO_AUTHENTICATION : NO_ACCEPTABLE_METHOD);
}

export type Socks5Request =
  | Socks5More
  | {
      readonly kind: "connect";
      readonly used: number;
      /** A name as sent, every byte a character; or an IP address in canonical text. */
      readonly host: string;
      readonly hostKind: "name" | "address";
      readonly port: number;
    }
  | { readonly kind: "refused"; readonly reply: Socks5Reply; readonly reason: string };

/** Reads a request (section 4). A name's characters are not judged here. */
export function readSocks5Request(bytes: Uint8Array): Socks5Request {
  const [version, command, reserved, type, length] = bytes;
  const malformed = (reason: string): Socks5Request => ({
    kind: "refused",
    reply: SOCKS5_REPLY.generalFailure,
    reason,
  });
  if (version === undefined) return MORE;
  if (version !== SOCKS5_VERSION) return malformed(`version ${version} instead of 5`);
  if (command === undefined) return MORE;
  if (command !== CONNECT) {
    const reason = `command ${command} instead of 1 (CONNECT)`;
    return { kind: "refused", reply: SOCKS5_REPLY.commandNotSupported, reason };
  }
  if (reserved === undefined) return MORE;
  if (reserved !== 0) return malformed("the reserved byte is not 0");
  if (type === undefined) return MORE;
  let hostAt = 4;
  let hostLength = 4;
  if (type === IPV6) hostLength = 16;
  else if (type === DOMAIN_NAME) {
    if (length === undefined) return MORE;
    if (length === 0) return malformed("the name is empty");
    hostAt = 5;
    hostLength = length;
  } else if (type !== IPV4) {
    const reason = `address type ${type}`;
    return { kind: "refused", reply: SOCKS5_REPLY.addressTypeNotSupported, reason };
  }
  const portAt = hostAt + hostLength;
  const used = portAt + 2;
  if (bytes.length < used) return MORE;
  const port = ((bytes[portAt] ?? 0) << 8) | (bytes[portAt + 1] ?? 0);
  if (port === 0) return malformed("the port is 0");
  const host = bytes.subarray(hostAt, portAt);
  if (type === DOMAIN_NAME) {
    return { kind: "connect", used, host: String.fromCharCode(...host), hostKind: "name", port };
  }
  return { kind: "connect", used, host: addressText(host), hostKind: "address", port };
}

function addressText(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4));
  const mapped = words.length === 4 && words[0] === 0 && words[1] === 0 && words[2] === 0xffff;
  if (mapped) return formatIpAddress({ family: 4, words: [words[3] ?? 0] });
  return formatIpAddress({ family: words.length === 1 ? 4 : 6, words });
}

/** A reply (section 6). The bound address is always 0.0.0.0:0: it is of use to BIND only, and tells a caller about our network. */
export function socks5ReplyBytes(reply: Socks5Reply): Uint8Array {
  return Uint8Array.of(SOCKS5_VERSION, reply, 0, IPV4, 0, 0, 0, 0, 0, 0);
}
