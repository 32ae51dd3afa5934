/** How long a caller's HTTP connection is waited for, milliseconds; 0 is "for ever". */
export interface ServerTimeouts {
  /** For a whole request head, from its first byte. */
  readonly head: number;
  readonly idle: number;
  readonly tunnelIdle: number;
}
