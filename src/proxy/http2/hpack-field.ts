/** What the readers of HTTP/2 heads do with a field; 0 for nothing. */
export const ROLE_NONE = 0;
export const ROLE_METHOD = 1;
export const ROLE_SCHEME = 2;
export const ROLE_AUTHORITY = 3;
export const ROLE_PATH = 4;
/** `:protocol` of an extended CONNECT (RFC 8441). */
export const ROLE_PROTOCOL = 5;
export const ROLE_STATUS = 6;
/** Any other name that begins with a colon. Roles from 1 up to this one are pseudo-headers. */
export const ROLE_UNKNOWN_PSEUDO = 7;
export const ROLE_HOST = 8;
export const ROLE_COOKIE = 9;
export const ROLE_TE = 10;
export const ROLE_CONTENT_LENGTH = 11;
export const ROLE_EXPECT = 12;
/** Belongs to HTTP/1.1 alone (RFC 9113 section 8.2.2). */
export const ROLE_CONNECTION_SPECIFIC = 13;
/** A name that some apps read as a framing field, since CGI turns `-` into `_`. */
export const ROLE_IMITATION = 14;

const ROLES: ReadonlyMap<string, number> = new Map([
  [":method", ROLE_METHOD],
  [":scheme", ROLE_SCHEME],
  [":authority", ROLE_AUTHORITY],
  [":path", ROLE_PATH],
  [":protocol", ROLE_PROTOCOL],
  [":status", ROLE_STATUS],
  ["host", ROLE_HOST],
  ["cookie", ROLE_COOKIE],
  ["te", ROLE_TE],
  ["content-length", ROLE_CONTENT_LENGTH],
  ["expect", ROLE_EXPECT],
  ["connection", ROLE_CONNECTION_SPECIFIC],
  ["http2-settings", ROLE_CONNECTION_SPECIFIC],
  ["keep-alive", ROLE_CONNECTION_SPECIFIC],
  ["proxy-connection", ROLE_CONNECTION_SPECIFIC],
  ["transfer-encoding", ROLE_CONNECTION_SPECIFIC],
  ["upgrade", ROLE_CONNECTION_SPECIFIC],
  ["content_length", ROLE_IMITATION],
  ["transfer_encoding", ROLE_IMITATION],
]);

const COLON = 58;

/** The role of a field with this lower-case name. */
export function roleOf(name: string): number {
  return ROLES.get(name) ?? (name.charCodeAt(0) === COLON ? ROLE_UNKNOWN_PSEUDO : ROLE_NONE);
}

/** What RFC 7541 section 4.1 counts for a field beside its name and value. */
export const FIELD_OVERHEAD = 32;

/** A decoded header field. Immutable and shared: one stands for every reference to the same table entry. */
export class HeaderField {
  readonly name: string;
  /** One byte a character. */
  readonly value: string;
  readonly role: number;
  /** The name is a token in lower case or a pseudo-header's. */
  readonly nameValid: boolean;
  /** nameValid, and the value holds no control character but HTAB and no white space at its ends (RFC 9113 section 8.2.1). */
  readonly valid: boolean;
  /** Of RFC 7541 section 4.1, in bytes. */
  readonly size: number;

  constructor(name: string, value: string, role: number, nameValid: boolean, valueValid: boolean) {
    this.name = name;
    this.value = value;
    this.role = role;
    this.nameValid = nameValid;
    this.valid = nameValid && valueValid;
    this.size = name.length + value.length + FIELD_OVERHEAD;
  }
}
