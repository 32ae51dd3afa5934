// How long one decision takes as the number of rules grows, and how long a load stops other work. `npm run bench:authz`; about a minute,
// `-- 100000` adds that many rules. The machine is shared: of many short rounds the best counts, sizes taking turns.
import type { CompiledPolicy } from "../../src/authz/compiled-policy.ts";
import { decide } from "../../src/authz/decide.ts";
import { loadPolicies, loadPoliciesInTurns, type PolicyFile } from "../../src/authz/load-policies.ts";
import type { PolicyOptions } from "../../src/authz/policy-options.ts";
import type { CallFacts, ConnectionFacts } from "../../src/core/call-facts.ts";
import type { Peer } from "../../src/core/identity.ts";
import { parseSpiffeId, parseTrustDomain } from "../../src/core/spiffe-id.ts";
import "../../src/authz/use-cel.ts";

const SIZES = [10, 100, 1_000, 10_000, ...process.argv.slice(2).map(Number)];
const RULES_PER_POLICY = 500;
const ROUNDS = 30;
const CALLS = 4_096;
const trustDomain = parseTrustDomain("example.org");
const options: PolicyOptions = {
  mode: "strict",
  default: "deny",
  pathNormalization: "MERGE_SLASHES",
  rootNamespace: "istio-system",
  workload: { namespace: "shop", labels: new Map() },
  localTrustDomain: trustDomain,
  trustDomainAliases: [],
  listeners: [],
};

/** What rule `i` looks like, as lines of YAML. All rules share caller, method and the path's beginning, unless the name says otherwise. */
const shapes: Readonly<Record<string, (i: number) => string>> = {
  "exact paths": (i) => `
    - from: [{ source: { principals: [example.org/ns/shop/sa/app0] } }]
      to: [{ operation: { methods: [GET], paths: [/api/v1/things/${name(i)}] } }]`,
  "path prefixes": (i) => `
    - from: [{ source: { principals: [example.org/ns/shop/sa/app0] } }]
      to: [{ operation: { methods: [GET], paths: ["/api/v1/things/${name(i)}/*"] } }]`,
  templates: (i) => `
    - from: [{ source: { namespaces: [shop] } }]
      to: [{ operation: { methods: [GET], paths: ["/api/v1/{*}/items/${name(i)}"] } }]`,
  "callers and paths": (i) => `
    - from: [{ source: { principals: [example.org/ns/shop/sa/app${i}] } }]
      to: [{ operation: { methods: [GET], paths: [/api/v1/things/${name(i)}] } }]`,
};

/** The same length for every size, so that no size compares shorter texts. */
function name(i: number): string {
  return `thing-${String(i).padStart(6, "0")}`;
}

function filesOf(shape: (i: number) => string, count: number): readonly PolicyFile[] {
  const documents: string[] = [];
  for (let from = 0; from < count; from += RULES_PER_POLICY) {
    const rules = Array.from({ length: Math.min(RULES_PER_POLICY, count - from) }, (_, i) => shape(from + i));
    documents.push(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p${from}, namespace: shop }
spec:
  rules:${rules.join("")}
`);
  }
  return [{ file: "bench.yaml", text: documents.join("---\n") }];
}

/** Which rule each call is for: the first, the last, spread over all, or none. */
const targets: Readonly<Record<string, (n: number, count: number) => number>> = {
  first: () => 0,
  last: (_, count) => count - 1,
  "a new path": (n, count) => (n * 7919) % count,
  none: (n) => 900_000 + ((n * 7919) % 90_000),
};

function connectionOf(caller: string): ConnectionFacts {
  const certificate = { serial: "1", issuer: "", notAfterMs: 0, validUntilMs: 0, fingerprint: "" };
  const peer: Peer = {
    spiffeId: parseSpiffeId(`spiffe://example.org/ns/shop/sa/${caller}`),
    trustDomain,
    ...certificate,
  };
  const addresses = { sourceIp: "10.0.0.1", remoteIp: "10.0.0.1", destinationIp: "10.0.0.2" };
  return { peer, ...addresses, destinationPort: 8080, sni: "" };
}

/** Every path comes from bytes, as it does on the wire, so no text is known to the index before. */
function fromWire(text: string): string {
  return Buffer.from(text).toString("latin1");
}

function callsFor(shape: string, target: (n: number, count: number) => number, count: number): readonly CallFacts[] {
  const shared = connectionOf("app0");
  return Array.from({ length: CALLS }, (_, n) => {
    const i = target(n, count);
    const paths: Readonly<Record<string, string>> = {
      "path prefixes": `/api/v1/things/${name(i)}/7`,
      templates: `/api/v1/shop${n % 10}/items/${name(i)}`,
    };
    const path = fromWire(paths[shape] ?? `/api/v1/things/${name(i)}`);
    const connection = shape === "callers and paths" ? connectionOf(`app${i}`) : shared;
    return { connection, request: { method: fromWire("GET"), authority: "shop.example:8080", path, headers: [] } };
  });
}

/** Nanoseconds of a decision in one pass over the calls. */
function pass(policy: CompiledPolicy, calls: readonly CallFacts[], wanted: "allow" | "deny"): number {
  const start = performance.now();
  for (let i = 0; i < calls.length; i++) {
    const facts = calls[i];
    if (facts === undefined || decide(policy, facts).kind !== wanted) throw new Error(`a call was not ${wanted}`);
  }
  return ((performance.now() - start) * 1e6) / calls.length;
}

interface Measured {
  readonly best: number;
  readonly median: number;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** Sizes take turns, so that what else the machine does meets all of them. */
function measure(
  policies: readonly CompiledPolicy[],
  calls: readonly (readonly CallFacts[])[],
  wanted: "allow" | "deny",
) {
  const rounds = policies.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, policy] of policies.entries()) rounds[i]?.push(pass(policy, calls[i] ?? [], wanted));
  return rounds.map((each): Measured => ({ best: Math.min(...each), median: median(each.slice(5)) }));
}

const width = 12;
console.log(
  "Nanoseconds a decision, best round (and median); the last column compares best rounds of 10 000 and of 10 rules\n",
);
console.log(
  ["rules share caller, method, prefix".padEnd(36), ...SIZES.map((size) => String(size).padStart(width))].join(""),
);
for (const [shape, rule] of Object.entries(shapes)) {
  const policies = SIZES.map((size) => loadPolicies(filesOf(rule, size), options).policy);
  for (const [which, target] of Object.entries(targets)) {
    const calls = SIZES.map((size) => callsFor(shape, target, size));
    const cells = measure(policies, calls, which === "none" ? "deny" : "allow");
    const ratio = (cells[3]?.best ?? Number.NaN) / (cells[0]?.best ?? Number.NaN);
    const shown = cells.map(({ best, median: middle }) => `${best.toFixed(0)} (${middle.toFixed(0)})`.padStart(width));
    console.log([`${shape}, ${which}`.padEnd(36), ...shown, `  × ${ratio.toFixed(2)}`].join(""));
  }
  const denied = SIZES.map((size) => callsFor(shape, targets["none"] ?? (() => -1), size).slice(0, 256));
  const explained = policies.map((policy, i) => {
    const times = Array.from({ length: ROUNDS }, () => {
      const start = performance.now();
      for (const facts of denied[i] ?? []) if (decide(policy, facts).reason === "") throw new Error("no reason");
      return ((performance.now() - start) * 1e6) / 256;
    });
    return `${Math.min(...times).toFixed(0)} (${median(times).toFixed(0)})`.padStart(width);
  });
  console.log([`${shape}, none, its reason read`.padEnd(36), ...explained].join(""));
}

console.log("\nLoad of 10 000 rules from YAML (exact paths)\n");
const files = filesOf(shapes["exact paths"] ?? (() => ""), 10_000);
const loads = Array.from({ length: 5 }, () => {
  const start = performance.now();
  loadPolicies(files, options);
  return performance.now() - start;
});
console.log(`at once: ${Math.min(...loads).toFixed(0)} ms best, ${median(loads).toFixed(0)} ms median`);
const nowMs = () => performance.now();
const pause = () => new Promise<void>((resolve) => void setImmediate(resolve));
const turns: number[] = [];
let turn = nowMs();
const start = nowMs();
await loadPoliciesInTurns(files, options, {
  nowMs,
  pause: async () => {
    turns.push(nowMs() - turn);
    await pause();
    turn = nowMs();
  },
});
const sorted = turns.toSorted((a, b) => a - b);
const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? Number.NaN).toFixed(1);
console.log(
  `in turns: ${(nowMs() - start).toFixed(0)} ms in ${turns.length} turns of ${at(0.5)} ms median, ${at(0.99)} ms p99, ${at(0.999)} ms longest`,
);
