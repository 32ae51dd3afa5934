import type { Peer } from "./identity.ts";

/** What policy may look at of a connection. One per connection, shared by its calls. */
export interface ConnectionFacts {
  /** The verified peer, or undefined for a caller without identity. */
  readonly peer: Peer | undefined;
  /** Address of the TCP peer in canonical text (IPv4-mapped IPv6 already as IPv4), or "" for a Unix socket. */
  readonly sourceIp: string;
  /** The client behind trusted hops; equals sourceIp where none is trusted. */
  readonly remoteIp: string;
  /** Our own address that the caller connected to. */
  readonly destinationIp: string;
  /** The app's port, which `ports` compares; 0 for a Unix-socket app without `port:`. */
  readonly destinationPort: number;
  /** SNI of the handshake, "" if none. */
  readonly sni: string;
}

/** Header fields in wire order: name, value, name, value …  Names as received. Values trimmed of optional white space. */
export type HeaderList = readonly string[];

/** What policy may look at of an HTTP request. */
export interface RequestFacts {
  readonly method: string;
  /** Host or :authority as received. */
  readonly authority: string;
  /** Normalised path without query (authorization section 10); "*" for `OPTIONS *`. */
  readonly path: string;
  readonly headers: HeaderList;
  /** The lower-cased names of `headers`, at index i/2, where the codec has them at hand: spares policy the comparison
   *  without case. */
  readonly lowerNames?: readonly string[];
}

export interface CallFacts {
  readonly connection: ConnectionFacts;
  /** undefined for TCP. */
  readonly request: RequestFacts | undefined;
}
