import { type ConnectionOptions, NO_OPTIONS, parseConnection } from "./connection-options.ts";
import { BAD_LENGTH, OLD_CODING, parseContentLength, TWO_FRAMINGS, transferEncodingFault } from "./framing.ts";
import type { Fields } from "./http1-events.ts";
import type { Fault } from "./http1-fault.ts";
import {
  type KnownName,
  ROLE_CONNECTION,
  ROLE_CONTENT_LENGTH,
  ROLE_EXPECT,
  ROLE_HOST,
  ROLE_TRANSFER_ENCODING,
  ROLE_UPGRADE,
} from "./known-names.ts";
import { upgradeToken } from "./upgrade-token.ts";

/** What one head's fields say to the codec itself. One per decoder, filled anew for each head. */
export class HeadFacts {
  /** Index of the last Host field, and how many there are. */
  hostIndex = -1;
  hosts = 0;
  /** All Expect values joined by commas. */
  expect: string | undefined = undefined;
  /** Content-Length, or -1. */
  length = -1;
  /** Transfer-Encoding is there, and is chunked. */
  chunked = false;
  connection: ConnectionOptions = NO_OPTIONS;
  #upgrades = 0;
  #upgrade = "";

  /** Collects and judges framing and Connection; undefined if they are sound. `known` is by field and may be longer. */
  read(fields: Fields, known: readonly (KnownName | undefined)[], minor: 0 | 1): Fault | undefined {
    this.#clear();
    const { raw } = fields;
    const count = fields.lower.length;
    let lengths = 0;
    let codings: string | undefined;
    let connections: string | undefined;
    for (let field = 0; field < count; field++) {
      const name = known[field];
      if (name === undefined || name.role === 0) continue;
      const value = raw[2 * field + 1] as string;
      switch (name.role) {
        case ROLE_HOST:
          this.hosts++;
          this.hostIndex = field;
          break;
        case ROLE_CONTENT_LENGTH:
          lengths++;
          this.length = parseContentLength(value);
          if (this.length === -1 || lengths > 1) return BAD_LENGTH;
          break;
        case ROLE_TRANSFER_ENCODING:
          codings = codings === undefined ? value : `${codings},${value}`;
          break;
        case ROLE_CONNECTION:
          connections = connections === undefined ? value : `${connections},${value}`;
          break;
        case ROLE_EXPECT:
          this.expect = this.expect === undefined ? value : `${this.expect},${value}`;
          break;
        case ROLE_UPGRADE:
          this.#upgrades++;
          this.#upgrade = value;
          break;
      }
    }
    if (connections !== undefined) {
      const options = parseConnection(connections);
      if ("code" in options) return options;
      this.connection = options;
    }
    return codings === undefined ? undefined : this.#readCodings(codings, minor, lengths);
  }

  /** Whether the sender lets the connection live (RFC 9112 section 9.3). */
  keepAlive(minor: 0 | 1): boolean {
    return !this.connection.close && (minor === 1 || this.connection.keepAlive);
  }

  /** The one protocol that Upgrade names and Connection confirms; undefined in HTTP/1.0. */
  upgradeToken(minor: 0 | 1): string | undefined {
    return minor === 1 && this.#upgrades === 1 && this.connection.upgrade ? upgradeToken(this.#upgrade) : undefined;
  }

  #readCodings(codings: string, minor: 0 | 1, lengths: number): Fault | undefined {
    if (lengths > 0) return TWO_FRAMINGS;
    if (minor === 0) return OLD_CODING;
    this.chunked = true;
    return transferEncodingFault(codings);
  }

  #clear(): void {
    this.hostIndex = -1;
    this.hosts = 0;
    this.expect = undefined;
    this.length = -1;
    this.chunked = false;
    this.connection = NO_OPTIONS;
    this.#upgrades = 0;
    this.#upgrade = "";
  }
}
