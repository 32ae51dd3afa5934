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
  /** Outbound: destinationIp is "" because it is not known yet, and the call is decided anew once it is, before anything is sent there. */
  readonly addressPending?: boolean;
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
  /** Through an egress proxy: `authority` without its port, where the app may leave that out. Only istio mode compares it, beside the other: a
   *  field fits if it fits either. */
  readonly shortAuthority?: string;
  /** Normalised path without query (authorization section 10); "*" for `OPTIONS *`. */
  readonly path: string;
  /** The same with the query, as the app gets it; absent: there is no query. Only istio mode compares it. */
  readonly target?: string;
  /** As an HTTP/2 caller or an absolute-form target named it, else by whether the caller speaks TLS; absent: not known. Only
   *  istio mode compares it. */
  readonly scheme?: "http" | "https";
  readonly headers: HeaderList;
  /** The lower-cased names of `headers`, at index i/2, where the codec has them at hand: spares policy the comparison
   *  without case. */
  readonly lowerNames?: readonly string[];
  /** What the app gets from us beside `headers`: name, value, name, value … with lower-case names, of which none is among `headers`. Absent: nothing,
   *  as outbound. */
  readonly written?: HeaderList | undefined;
  /** The client behind trusted hops as this request's x-forwarded-for tells it; absent: the connection's remoteIp. */
  readonly remoteIp?: string;
  /** The verified token of the end user; absent: the request brought none. */
  readonly identity?: RequestIdentity | undefined;
}

/** Who a verified JWT says the end user is. Only what a RequestAuthentication has verified may become one. */
export interface RequestIdentity {
  /** `iss`. */
  readonly issuer: string;
  /** `sub`, "" if the token has none. */
  readonly subject: string;
  /** `aud`, always as a list. */
  readonly audiences: readonly string[];
  /** `azp`, "" if the token has none. */
  readonly presenter: string;
  /** The whole claims set as parsed. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** Top-level claims whose text is a list parted by spaces; `scope` and `permission` always are (RequestAuthentication's
   *  spaceDelimitedClaims). */
  readonly spaceDelimitedClaims?: readonly string[];
}

export interface CallFacts {
  readonly connection: ConnectionFacts;
  /** undefined for TCP. */
  readonly request: RequestFacts | undefined;
  /** Outbound: the principals (SPIFFE IDs without their scheme) of which the server must prove one before a byte of the call
   *  is sent. One that ends with a star stands for every ID that begins so: an ALLOW must take all of them, a DENY one.
   *  Absent: the server need not prove any. */
  readonly destinationPrincipals?: readonly string[];
  /** Wall clock, milliseconds since the epoch, for conditions about time. Needed when the policy depends on time; without it such a
   *  condition fails as an error does. */
  readonly nowMs?: number;
}
