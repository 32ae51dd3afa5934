import type { ErrorCode } from "../core/error-codes.ts";
import type { CountersignError } from "../core/errors.ts";
import type { IdentitySnapshot } from "../core/identity.ts";

/** A connection as its listener sees it, from the accept on. Registered before anything can fail. */
export interface OpenConnection {
  /** Calls that are open on it. */
  readonly calls: number;
  /** Ends it when its calls have ended. */
  drain(): void;
  /** Ends it now; its calls are recorded with this code. */
  cut(code: ErrorCode, detail: string): void;
  /** A new identity snapshot is in force. */
  onIdentity(snapshot: IdentitySnapshot): void;
  /** We have no identity any more: what was opened with it ends. */
  onIdentityLost(problem: CountersignError): void;
  /** A new policy is in force. */
  onPolicy(): void;
  /** About twice a second: expiry, age, records of long calls. */
  onTick(nowWallMs: number): void;
}
