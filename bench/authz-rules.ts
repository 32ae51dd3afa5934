// The same rules for both: as the YAML that people write for Istio, and as the RBAC filter that Istio makes of it for Envoy.
import { envoyRules } from "../test/interop/envoy-rbac/envoy-rules.ts";
import { trustDomain } from "./identities.ts";

const CALLER = `${trustDomain}/ns/shop/sa/web`;
/** Istio allows 512. */
const RULES_PER_POLICY = 500;

/** The path of rule `i`. All are equally long and share a prefix. */
export function pathOf(i: number): string {
  return `/api/v1/things/thing-${String(i).padStart(6, "0")}`;
}

/** `count` ALLOW rules that share caller, method and the path's beginning, as a file of AuthorizationPolicies. `mark` makes two sets
 *  different. */
export function istioYaml(count: number, mark = ""): string {
  const documents: string[] = [];
  for (let from = 0; from < count; from += RULES_PER_POLICY) {
    const rules = Array.from({ length: Math.min(RULES_PER_POLICY, count - from) }, (_, i) => istioRule(from + i));
    documents.push(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: things-${from}${mark}
  namespace: shop
spec:
  action: ALLOW
  rules:
${rules.join("")}`);
  }
  return documents.join("---\n");
}

function istioRule(i: number): string {
  return `  - from:
    - source:
        principals: ["${CALLER}"]
    to:
    - operation:
        methods: ["GET"]
        paths: ["${pathOf(i)}"]
`;
}

/** The `rules` of Envoy's RBAC filter. Envoy asks them in the order of their names. */
export function envoyRbacRules(count: number): Readonly<Record<string, unknown>> {
  const rules = Array.from({ length: count }, (_, i) => ({
    from: [{ source: { principals: [CALLER] } }],
    to: [{ operation: { methods: ["GET"], paths: [pathOf(i)] } }],
  }));
  return envoyRules("ALLOW", [{ action: "ALLOW", rules }], "shop");
}
