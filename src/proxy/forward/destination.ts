import { meshHostKey } from "../../config/forward-shape.ts";
import type { ForwardRules, MeshHost } from "../../config/sidecar-config.ts";
import { type EgressTarget, makeTarget, readTarget } from "../../core/egress-target.ts";
import { CountersignError } from "../../core/errors.ts";

/** Where a caller of the egress proxy wants to go. */
export interface Destination extends EgressTarget {
  /** Set where the configuration says which identity the server must prove. */
  readonly mesh: MeshHost | undefined;
}

/** Reads `host`, `host:port` or `[v6]:port`. `defaultPort` undefined: a port is needed. Refused with E_EGRESS_TARGET is what `readTarget` refuses. */
export function readDestination(
  authority: string,
  defaultPort: number | undefined,
  rules: ForwardRules,
): Destination | CountersignError {
  return asConfigured(readTarget(authority, defaultPort), rules);
}

/** As above, for host and port that came apart. */
export function makeDestination(
  host: string,
  port: number,
  rules: ForwardRules,
  bracketed: boolean,
): Destination | CountersignError {
  return asConfigured(makeTarget(host, port, bracketed), rules);
}

function asConfigured(
  target: EgressTarget | CountersignError,
  { hosts }: ForwardRules,
): Destination | CountersignError {
  if (target instanceof CountersignError) return target;
  const { host, isAddress, port } = target;
  return { host, isAddress, port, mesh: hosts.get(meshHostKey(host, port)) };
}
