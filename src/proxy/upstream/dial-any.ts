import type { PeerVerifier } from "../../certs/peer-verifier.ts";
import type { Address } from "../../config/sidecar-config.ts";
import type { CountersignError } from "../../core/errors.ts";
import type { Deadlines } from "../deadlines.ts";
import { addressText, type Dialed, type DialIdentity, dial } from "./dial.ts";

export interface DialPlan {
  readonly endpoints: readonly [Address, ...Address[]];
  /** Of DialOptions, for all endpoints. */
  readonly serverName?: string | undefined;
  readonly source: string | undefined;
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly deadlines: Deadlines;
  readonly verifyPeer: PeerVerifier;
  readonly identity: DialIdentity | undefined;
  /** Endpoints that refused our ALPN names: dialled without from then on. Kept by the caller, who knows how long. */
  readonly withoutAlpn: Set<string>;
}

export type DialAnyResult =
  | { readonly kind: "connected"; readonly dialed: Dialed; readonly address: string }
  | { readonly kind: "failed"; readonly error: CountersignError; readonly address: string };

/** Tries the endpoints one after another, beginning at `first`, until one connects and proves its identity: a failed connect has sent
 *  nothing of a call, so the next is always safe to try. `done` gets the last one's error. */
export function dialAny(plan: DialPlan, first: number, done: (result: DialAnyResult) => void): void {
  const { endpoints, withoutAlpn } = plan;
  const attempt = (index: number, left: number): void => {
    const address = endpoints[index % endpoints.length] ?? endpoints[0];
    const where = addressText(address);
    const identity =
      plan.identity !== undefined && withoutAlpn.has(where) ? { ...plan.identity, alpn: [] } : plan.identity;
    dial({ ...plan, address, identity }, (result) => {
      if (result.kind === "connected") done({ kind: "connected", dialed: result.dialed, address: where });
      else if (result.noAlpn && !withoutAlpn.has(where)) {
        withoutAlpn.add(where);
        attempt(index, left);
      } else if (left > 1) attempt(index + 1, left - 1);
      else done({ kind: "failed", error: result.error, address: where });
    });
  };
  attempt(first, endpoints.length);
}
