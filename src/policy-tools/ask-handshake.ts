import { type EffectiveMtls, effectiveMtls } from "../authz/authentication.ts";
import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { PolicyListener } from "../authz/policy-options.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import type { AskedCall } from "./asked-call.ts";

/** What becomes of a connection before policy is asked. */
export type AskedHandshake =
  | { readonly kind: "refused"; readonly refused: ErrorCode; readonly why: string }
  /** `noIdentity`: the listener takes plaintext alone, where nobody proves who they are. */
  | { readonly kind: "taken"; readonly noIdentity: boolean };

const TAKEN: AskedHandshake = { kind: "taken", noIdentity: false };

/** What the listeners of a port do with a caller, as src/proxy/inbound-connection.ts does it. Where neither a listener's configuration nor a
 *  PeerAuthentication document says what is taken, every caller is. A caller without identity that names a server (SNI) speaks TLS and shows no
 *  certificate; any other sends plaintext. `port` 0: it may be any listener, and one that takes the caller is enough. */
export function askHandshake(
  policy: CompiledPolicy,
  { direction, source, sni }: AskedCall,
  port: number,
): AskedHandshake {
  if (direction === "outbound") return TAKEN;
  const taken = listenersOf(policy, port).map((listener) => effectiveMtls(policy, listener));
  if (taken.length === 0) return TAKEN;
  if (source.spiffeId !== undefined)
    return taken.every((mtls) => mtls === "disable") ? { kind: "taken", noIdentity: true } : TAKEN;
  const speaksTls = sni !== "";
  if (taken.some((mtls) => takesNobody(mtls, speaksTls))) return TAKEN;
  return speaksTls
    ? { kind: "refused", refused: "E_PEER_NO_CERTIFICATE", why: "no certificate was presented" }
    : {
        kind: "refused",
        refused: "E_PLAINTEXT_REFUSED",
        why: "the caller sent plaintext, and this listener takes only mutual TLS",
      };
}

function takesNobody(mtls: EffectiveMtls, speaksTls: boolean): boolean {
  return mtls === "disable" || (mtls === "permissive" && !speaksTls);
}

/** Those of which it is known what they take. */
function listenersOf(policy: CompiledPolicy, port: number): readonly Pick<PolicyListener, "appPort" | "mtls">[] {
  const here = policy.options.listeners.filter(({ appPort }) => port === 0 || appPort === port);
  if (policy.peerAuthentications.length === 0) return here.filter(({ mtls }) => mtls !== undefined);
  // Without a listener only the documents count.
  return here.length > 0 || port === 0 ? here : [{ appPort: port, mtls: "disable" }];
}
