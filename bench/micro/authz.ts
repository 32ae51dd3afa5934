// How long one decision takes as the number of rules grows. `node bench/micro/authz.ts`; ends within 10 seconds.
import { decide } from "../../src/authz/decide.ts";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import type { CallFacts } from "../../src/core/call-facts.ts";
import type { Peer } from "../../src/core/identity.ts";
import { parseSpiffeId, parseTrustDomain } from "../../src/core/spiffe-id.ts";

const SIZES = [10, 100, 1_000, 10_000];
const RULES_PER_POLICY = 500;
const BUDGET_MS = 200;
const trustDomain = parseTrustDomain("example.org");

/** What rule `i` looks like in a fleet: somebody may call something. */
const shapes: Readonly<Record<string, (i: number) => object>> = {
  "principal and path": (i) => ({
    from: [{ source: { principals: [`example.org/ns/shop/sa/app${i}`] } }],
    to: [{ operation: { methods: ["GET"], paths: [`/api/v1/things${i}/*`] } }],
  }),
  "one principal, many paths": (i) => ({
    from: [{ source: { principals: ["example.org/ns/shop/sa/app0"] } }],
    to: [{ operation: { methods: ["GET"], paths: [`/api/v1/things${i}`] } }],
  }),
  "namespace and host": (i) => ({
    from: [{ source: { namespaces: [`ns${i % 100}`] } }],
    to: [{ operation: { hosts: [`host${i}.example`], methods: ["GET", "POST"] } }],
  }),
};

function policyOf(shape: (i: number) => object, count: number) {
  const documents: string[] = [];
  for (let from = 0; from < count; from += RULES_PER_POLICY) {
    const rules = Array.from({ length: Math.min(RULES_PER_POLICY, count - from) }, (_, i) => shape(from + i));
    documents.push(
      JSON.stringify({
        apiVersion: "security.istio.io/v1",
        kind: "AuthorizationPolicy",
        metadata: { name: `p${from}`, namespace: "shop" },
        spec: { rules },
      }),
    );
  }
  return loadPolicies([{ file: "bench.yaml", text: documents.join("\n---\n") }], {
    mode: "strict",
    default: "deny",
    pathNormalization: "MERGE_SLASHES",
    rootNamespace: "istio-system",
    workload: { namespace: "shop", labels: new Map() },
    localTrustDomain: trustDomain,
    trustDomainAliases: [],
    listeners: [],
  }).policy;
}

function callsFor(shape: string, count: number): readonly CallFacts[] {
  return Array.from({ length: 64 }, (_, n) => {
    const i = (n * 7919) % count;
    const id =
      shape === "namespace and host"
        ? `ns/ns${i % 100}/sa/x`
        : `ns/shop/sa/app${shape === "principal and path" ? i : 0}`;
    const peer: Peer = {
      spiffeId: parseSpiffeId(`spiffe://example.org/${id}`),
      trustDomain,
      serial: "1",
      issuer: "",
      notAfterMs: 0,
      validUntilMs: 0,
      fingerprint: "",
    };
    const connection = {
      peer,
      sourceIp: "10.0.0.1",
      remoteIp: "10.0.0.1",
      destinationIp: "10.0.0.2",
      destinationPort: 8080,
      sni: "",
    };
    const path = shape === "principal and path" ? `/api/v1/things${i}/1` : `/api/v1/things${i}`;
    return { connection, request: { method: "GET", authority: `host${i}.example:8080`, path, headers: [] } };
  });
}

/** Nanoseconds of a decision, the best of several rounds: the machine is shared. */
function measure(policy: ReturnType<typeof policyOf>, calls: readonly CallFacts[]): number {
  const roundCalls = 64 * 200;
  let best = Number.POSITIVE_INFINITY;
  const until = performance.now() + BUDGET_MS;
  do {
    const start = performance.now();
    for (let i = 0; i < roundCalls; i++) {
      const facts = calls[i & 63];
      if (facts === undefined || decide(policy, facts).kind !== "allow")
        throw new Error("the benchmark's call was denied");
    }
    best = Math.min(best, ((performance.now() - start) * 1e6) / roundCalls);
  } while (performance.now() < until);
  return best;
}

console.log("nanoseconds for one allowed decision\n");
console.log(["rules".padEnd(28), ...SIZES.map((size) => String(size).padStart(8))].join(""), "  load of the last");
for (const [name, shape] of Object.entries(shapes)) {
  let loadMs = 0;
  const cells = SIZES.map((size) => {
    const start = performance.now();
    const policy = policyOf(shape, size);
    loadMs = performance.now() - start;
    return measure(policy, callsFor(name, size));
  });
  console.log([name.padEnd(28), ...cells.map((ns) => ns.toFixed(0).padStart(8))].join(""), `  ${loadMs.toFixed(0)} ms`);
}
