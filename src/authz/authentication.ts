import type { JwtRuleModel, MtlsSetting, PeerAuthenticationModel } from "./authentication-model.ts";
import type { CompiledPolicy } from "./compiled-policy.ts";
import type { Findings } from "./findings.ts";
import type { PolicyListener, PolicyOptions } from "./policy-options.ts";

/** What a listener takes: only mutual TLS, mutual TLS or plaintext, or plaintext alone. As in the configuration. */
export type EffectiveMtls = "strict" | "permissive" | "disable";

const SETTINGS: Readonly<Record<Exclude<MtlsSetting, "UNSET">, EffectiveMtls>> = {
  STRICT: "strict",
  PERMISSIVE: "permissive",
  DISABLE: "disable",
};
const STRENGTH: readonly EffectiveMtls[] = ["disable", "permissive", "strict"];

/** What a listener takes, by its configuration and the PeerAuthentication documents that apply (authorization, section 8): the most specific of
 *  workload, namespace and mesh wins, and of several at one level the oldest. strict: documents only tighten. */
export function effectiveMtls(
  policy: CompiledPolicy,
  listener: Pick<PolicyListener, "appPort" | "mtls">,
): EffectiveMtls {
  const own = listener.mtls ?? "strict";
  const wanted = documentMtls(policy.peerAuthentications, policy.options, listener.appPort);
  if (wanted === undefined) return own;
  return policy.options.mode === "istio" ? wanted : stronger(own, wanted);
}

function stronger(a: EffectiveMtls, b: EffectiveMtls): EffectiveMtls {
  return STRENGTH.indexOf(a) > STRENGTH.indexOf(b) ? a : b;
}

/** undefined: no document says anything. `documents` are those that apply, in the order in which they win. */
function documentMtls(
  documents: readonly PeerAuthenticationModel[],
  options: PolicyOptions,
  port: number,
): EffectiveMtls | undefined {
  const levels = [0, 1, 2].map((level) => documents.find((document) => levelOf(document, options) === level));
  const [workload] = levels;
  const settings = [workload?.portLevel.get(port), ...levels.map((document) => document?.mtls)];
  for (const setting of settings) if (setting !== undefined && setting !== "UNSET") return SETTINGS[setting];
  return undefined;
}

/** 0 workload, 1 namespace, 2 mesh. */
function levelOf(document: PeerAuthenticationModel, options: PolicyOptions): number {
  if (document.selector.size > 0) return 0;
  return document.namespace === options.rootNamespace ? 2 : 1;
}

/** The documents in the order in which they win at their level. */
export function byAge(documents: readonly PeerAuthenticationModel[]): readonly PeerAuthenticationModel[] {
  return documents.toSorted(
    (a, b) => (a.createdAtMs ?? Number.POSITIVE_INFINITY) - (b.createdAtMs ?? Number.POSITIVE_INFINITY) || 0,
  );
}

/** Reports documents that would loosen what a listener demands: the configuration is where that is decided (strict mode). */
export function checkMtls(
  documents: readonly PeerAuthenticationModel[],
  options: PolicyOptions,
  findings: Findings,
): void {
  if (options.mode === "istio") return;
  const sorted = byAge(documents);
  for (const listener of options.listeners) {
    const wanted = documentMtls(sorted, options, listener.appPort);
    const own = listener.mtls ?? "strict";
    if (wanted === undefined || stronger(own, wanted) === wanted) continue;
    const [document] = sorted;
    const at = document?.at ?? { file: "" };
    const message = `PeerAuthentication documents set ${wanted} for listener ${listener.name}, whose configuration demands ${own}`;
    const fix = `write \`mtls: ${wanted}\` at the listener if that is meant, or change the document`;
    findings.error("E_POLICY_MTLS", at, message, fix);
  }
}

/** All JWT rules that apply to this workload's requests (section 9): a token must satisfy one of them. Empty: tokens are not looked at. */
export function jwtRulesFor(policy: CompiledPolicy): readonly JwtRuleModel[] {
  return policy.requestAuthentications.flatMap(({ jwtRules }) => jwtRules);
}
