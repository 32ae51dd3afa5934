/** What a source tells the operational log. Fields never hold a key, a token or more than one line. */
export interface IdentityLogEntry {
  readonly level: "info" | "warn" | "error";
  /** loaded: the first SVID, or the first after a loss; rotated: another SVID than before; bundles: only bundles changed;
   *  problem: the source fails; warning: something odd that changes nothing; federation.*: a partner's bundle endpoint. */
  readonly event:
    | "identity.loaded"
    | "identity.rotated"
    | "identity.bundles"
    | "identity.problem"
    | "identity.warning"
    | "federation.updated"
    | "federation.problem";
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number>>;
}

export type IdentityLog = (entry: IdentityLogEntry) => void;
