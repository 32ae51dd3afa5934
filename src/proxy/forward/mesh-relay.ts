import type { CompiledPolicy } from "../../authz/compiled-policy.ts";
import { decisionAfter } from "../../authz/decide.ts";
import { ruleAboutRequests } from "../../authz/request-rules.ts";
import type { CallFacts } from "../../core/call-facts.ts";
import type { ConnectionContext } from "../../core/call-outcome.ts";
import type { Decision } from "../../core/decision.ts";
import { destinationText } from "../../core/egress-target.ts";
import { CountersignError } from "../../core/errors.ts";
import type { TcpRelayParts } from "../tcp-relay.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { tunnelFacts } from "./destination-facts.ts";
import type { TunnelAuthority } from "./tunnel-authority.ts";
import type { TunnelParts } from "./tunnel-parts.ts";

const NOBODY_MORE: ReadonlySet<string> = new Set();

/** What relays a tunnel's bytes to a destination in the mesh, inside mTLS, as through a listener that leads there: on a stream of a shared
 *  connection where its sidecar takes those, else on a connection of its own. Providers that have allowed the tunnel are not asked again. */
export function meshRelay(
  { runtime, listener, facts, destination, fields }: TunnelParts,
  context: ConnectionContext,
  addresses: CheckedAddresses,
  authority: TunnelAuthority,
): TcpRelayParts {
  if (destination.mesh === undefined) throw new TypeError("only destinations in the mesh take any bytes");
  const factsAt = (address: string): CallFacts => tunnelFacts(facts, destination, fields, address, "");
  const only = addresses.length === 1 ? addresses[0] : "";
  let current = factsAt(destination.isAddress ? destination.host : only);
  /** Where it may lead. */
  let places: readonly CallFacts[] = addresses.map(factsAt);
  return {
    runtime,
    context,
    facts: current.connection,
    authority: destinationText(destination),
    decide: () => {
      const decision = authority.decide(current);
      return decision.kind === "deny" ? decision : (denialOfOpaque(runtime.inForce.policy, places) ?? decision);
    },
    ask: (decision, _call, outcome, signal) => authority.ask(decision, current, outcome, signal),
    reach: (permit, done) => {
      // policy may have changed since they were chosen
      const allowed: string[] = [];
      let refused: CountersignError | undefined;
      for (const host of addresses) {
        const verdict = decisionAfter(authority.decide(factsAt(host)), NOBODY_MORE);
        if (verdict.kind === "allow") allowed.push(host);
        else refused ??= new CountersignError(verdict.code, verdict.reason);
      }
      const [first, ...others] = allowed;
      if (first === undefined) {
        done(refused ?? new CountersignError("E_EGRESS_RESOLVE", `${destination.host} has no address`));
        return;
      }
      listener.pools.connect(destination, [first, ...others], permit, (reached, { host }) => {
        current = factsAt(host);
        places = [current];
        done(reached);
        return true;
      });
    },
  };
}

/** Rules about requests cannot be asked about bytes that are none (authorization section 7). */
function denialOfOpaque(policy: CompiledPolicy, places: readonly CallFacts[]): Decision | undefined {
  const nowMs = Date.now();
  for (const place of places) {
    const rule = ruleAboutRequests(policy, { ...place, nowMs });
    if (rule === undefined) continue;
    const to = place.request?.authority ?? "this destination";
    const reason = `rule ${rule} looks at HTTP requests to ${to}, and the tunnel does not begin with one`;
    return { kind: "deny", code: "E_EGRESS_OPAQUE", rule, reason, nearest: undefined, policyVersion: policy.version };
  }
  return undefined;
}
