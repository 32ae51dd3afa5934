/** What a connection's first bytes say about TLS's server name. `none`: a complete ClientHello without one. */
export type ServerNameReading =
  | { readonly kind: "more" }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "none" }
  | { readonly kind: "malformed"; readonly reason: string };

/** Most bytes that a ClientHello may take, its record headers included. Post-quantum key shares take 2 KiB. */
export const MAX_CLIENT_HELLO_BYTES = 16 * 1024;

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const HOST_NAME = 0;
const MORE = { kind: "more" } as const;
const NONE = { kind: "none" } as const;

/** A length that leads out of the part that it stands in, or the end of what has arrived. */
class Cursor {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  /** A big-endian number, or -1. */
  number(width: 1 | 2 | 3): number {
    if (this.left < width) return -1;
    let value = 0;
    for (let i = 0; i < width; i++) value = value * 256 + (this.bytes[this.at++] ?? 0);
    return value;
  }

  skip(length: number): boolean {
    if (length < 0 || length > this.left) return false;
    this.at += length;
    return true;
  }

  /** The part behind a length of that width, or undefined. */
  vector(width: 1 | 2): Cursor | undefined {
    const length = this.number(width);
    const start = this.at;
    return this.skip(length) ? new Cursor(this.bytes, start, start + length) : undefined;
  }
}

function malformed(reason: string): ServerNameReading {
  return { kind: "malformed", reason };
}

/** Reads the SNI (RFC 6066 section 3) of a ClientHello (RFC 8446 section 4.1.2) that may be spread over several records. Strict where two
 *  programs could read two names: one extension, with one host name. `bytes` are all that came so far; more than
 *  MAX_CLIENT_HELLO_BYTES without an end is malformed. Pure. */
export function readServerName(bytes: Uint8Array): ServerNameReading {
  const hello = joinRecords(bytes);
  if ("kind" in hello) return hello.kind === "more" && bytes.length >= MAX_CLIENT_HELLO_BYTES ? tooLong() : hello;
  return readHello(hello);
}

function tooLong(): ServerNameReading {
  return malformed(`no complete ClientHello within ${MAX_CLIENT_HELLO_BYTES} bytes`);
}

/** The ClientHello's body out of the records that carry it. Joined only once it is whole: a client that sends it in many small ones costs
 *  no more than a look at each. */
function joinRecords(bytes: Uint8Array): Cursor | ServerNameReading {
  const parts: Uint8Array[] = [];
  const header: number[] = [];
  let have = 0;
  let at = 0;
  for (;;) {
    const [, high = 0, middle = 0, low] = header;
    if (low !== undefined) {
      const length = high * 65_536 + middle * 256 + low;
      if (length > MAX_CLIENT_HELLO_BYTES) return tooLong();
      if (have >= 4 + length) return new Cursor(concat(parts, have), 4, 4 + length);
    }
    const record = new Cursor(bytes, at, bytes.length);
    if (record.left > 0 && bytes[at] !== HANDSHAKE) return malformed("a record of another kind");
    if (record.left > 1 && bytes[at + 1] !== 3) return malformed("a record of another version");
    if (!record.skip(3)) return MORE;
    const length = record.number(2);
    if (length === -1) return MORE;
    // RFC 8446 section 5.1: handshake records are never empty, and never longer than this
    if (length === 0 || length > 16_384) return malformed("a record of forbidden length");
    const arrived = bytes.subarray(record.at, Math.min(record.at + length, bytes.length));
    if (have === 0 && arrived.length > 0 && arrived[0] !== CLIENT_HELLO) return malformed("no ClientHello");
    if (arrived.length < length) return MORE;
    for (let i = 0; header.length < 4 && i < length; i++) header.push(arrived[i] ?? 0);
    parts.push(arrived);
    have += length;
    at = record.at + length;
  }
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array {
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function readHello(hello: Cursor): ServerNameReading {
  // legacy_version, random, legacy_session_id, cipher_suites, legacy_compression_methods
  if (!hello.skip(34)) return malformed("a ClientHello that ends too soon");
  if (hello.vector(1) === undefined || hello.vector(2) === undefined || hello.vector(1) === undefined) {
    return malformed("a ClientHello that ends too soon");
  }
  if (hello.left === 0) return NONE;
  const extensions = hello.vector(2);
  if (extensions === undefined || hello.left !== 0) return malformed("extensions of a wrong length");
  let found: ServerNameReading = NONE;
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const data = extensions.vector(2);
    if (type === -1 || data === undefined) return malformed("extensions of a wrong length");
    if (type !== SERVER_NAME) continue;
    if (found.kind !== "none") return malformed("two server_name extensions");
    found = readNames(data);
    if (found.kind === "malformed") return found;
  }
  return found;
}

function readNames(data: Cursor): ServerNameReading {
  const list = data.vector(2);
  if (list === undefined || data.left !== 0) return malformed("a server_name of a wrong length");
  const type = list.number(1);
  const name = list.vector(2);
  // RFC 6066 defines one kind of name, of which there is one
  if (type !== HOST_NAME || name === undefined || list.left !== 0)
    return malformed("a server_name with other than one host name");
  if (name.left === 0 || name.left > 255) return malformed("a host name of a wrong length");
  const text = String.fromCharCode(...name.bytes.subarray(name.at, name.end));
  return /^[A-Za-z0-9._-]+$/.test(text)
    ? { kind: "name", name: text }
    : malformed("a host name with a forbidden character");
}

/** The alerts that we end a TLS client's hopes with (RFC 8446 section 6), so that it can say why. */
export const TLS_ALERT = { handshakeFailure: 40, accessDenied: 49, internalError: 80, unrecognizedName: 112 } as const;

/** A fatal alert in plaintext, as a server sends before it has chosen anything. */
export function tlsAlert(description: (typeof TLS_ALERT)[keyof typeof TLS_ALERT]): Uint8Array {
  return Uint8Array.of(21, 3, 3, 0, 2, 2, description);
}
