import type { AuditEvent } from "../../audit/serialise-record.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import type { SpiffeId } from "../../core/spiffe-id.ts";
import { type Entry, entryIdOf } from "./entries.ts";
import { formatSelector } from "./selectors.ts";

/** As much of the audit log as the issuer uses. */
export interface IssuerAudit {
  /** Why nothing may be issued now, since it could not be recorded; undefined: it can. */
  readonly problem: string | undefined;
  event(event: AuditEvent): void;
}

/** Who asked, as the kernel says. */
export interface RecordedCaller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

export interface IssuedRecord {
  readonly kind: "x509" | "jwt";
  readonly caller: RecordedCaller;
  /** undefined: the issuer's own bundle endpoint. */
  readonly entry: Entry | undefined;
  readonly spiffeId: SpiffeId;
  /** undefined for a JWT-SVID. */
  readonly serial: string | undefined;
  readonly notAfterMs: number;
  /** Audience and the like; one line. */
  readonly detail: string;
}

/** The record of an SVID that was handed out: to whom, by which entry and selectors. */
export function issuedRecord({ kind, caller, entry, spiffeId, serial, notAfterMs, detail }: IssuedRecord): AuditEvent {
  const by = entry === undefined ? "the issuer's own" : `entry ${entryIdOf(entry)}`;
  return {
    kind: "identity",
    reason: `svid.issued.${kind}`,
    decision: "allow",
    source: { spiffeId, serial, notAfterMs },
    local: caller,
    selectors: entry?.selectors.map(formatSelector),
    detail: detail === "" ? by : `${by}, ${detail}`,
  };
}

/** The record of a caller that got nothing: what was seen of it, and why. */
export function refusedRecord(
  caller: RecordedCaller,
  refusal: { readonly reason: ErrorCode; readonly selectors: readonly string[]; readonly detail: string },
): AuditEvent {
  return { kind: "identity", decision: "deny", local: caller, ...refusal };
}
