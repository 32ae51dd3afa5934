// How long one decision takes as the number of rules grows, and how long a load takes and stops other work. `npm run bench:authz`; some three
// minutes, most of it for compiling 100 000 rules four times; `-- 10 10000` takes other numbers of rules. The machine is shared: of
// many short rounds the best counts, sizes taking turns. Sizes rise.
import type { CompiledPolicy } from "../../src/authz/compiled-policy.ts";
import { decide } from "../../src/authz/decide.ts";
import {
  loadPolicies,
  loadPoliciesInTurns,
  openPackedPolicy,
  type PackedPolicy,
  type PolicyFile,
} from "../../src/authz/load-policies.ts";
import type { PolicyOptions } from "../../src/authz/policy-options.ts";
import { compileApart, isLargeSet } from "../../src/cli/policy-process.ts";
import type { CallFacts, ConnectionFacts } from "../../src/core/call-facts.ts";
import type { Peer } from "../../src/core/identity.ts";
import { parseSpiffeId, parseTrustDomain } from "../../src/core/spiffe-id.ts";
import "../../src/authz/use-cel.ts";

const given = process.argv.slice(2).map(Number);
const SIZES = given.length > 0 ? given : [10, 100, 1_000, 10_000, 100_000];
/** The bar compares these. */
const [FEW, MANY] = [10, 10_000];
const RULES_PER_POLICY = 500;
const POLICIES_PER_FILE = 20;
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

/** One kind of rules, and the calls that they are for. */
interface Shape {
  /** Rule `i` as lines of YAML. */
  readonly rule: (i: number) => string;
  /** What a call for rule `i` has of its own; `n` is its number. */
  readonly call: (i: number, n: number) => Own;
  /** Asked only for many different rules. */
  readonly isBrief?: boolean;
}

interface Own {
  readonly path?: string;
  readonly host?: string;
  readonly headers?: readonly string[];
  /** Another connection than all others. */
  readonly connection?: ConnectionFacts;
}

const APP = "principals: [example.org/ns/shop/sa/app0]";
const THINGS = "/api/v1/things";

const shapes: Readonly<Record<string, Shape>> = {
  "exact paths": {
    rule: (i) => `
    - from: [{ source: { ${APP} } }]
      to: [{ operation: { methods: [GET], paths: [${THINGS}/${name(i)}] } }]`,
    call: (i) => ({ path: `${THINGS}/${name(i)}` }),
  },
  "path prefixes": {
    rule: (i) => `
    - from: [{ source: { ${APP} } }]
      to: [{ operation: { methods: [GET], paths: ["${THINGS}/${name(i)}/*"] } }]`,
    call: (i) => ({ path: `${THINGS}/${name(i)}/7` }),
  },
  templates: {
    rule: (i) => `
    - from: [{ source: { namespaces: [shop] } }]
      to: [{ operation: { methods: [GET], paths: ["/api/v1/{*}/items/${name(i)}"] } }]`,
    call: (i, n) => ({ path: `/api/v1/shop${n % 10}/items/${name(i)}` }),
  },
  "callers and paths": {
    rule: (i) => `
    - from: [{ source: { principals: [example.org/ns/shop/sa/app${i}] } }]
      to: [{ operation: { methods: [GET], paths: [${THINGS}/${name(i)}] } }]`,
    call: (i) => ({ path: `${THINGS}/${name(i)}`, connection: connectionOf(`ns/shop/sa/app${i}`) }),
  },
  namespaces: {
    rule: (i) => `
    - from: [{ source: { namespaces: [team${i}] } }]
      to: [{ operation: { methods: [GET], paths: [${THINGS}] } }]`,
    call: (i) => ({ path: THINGS, connection: connectionOf(`ns/team${i}/sa/web`) }),
    isBrief: true,
  },
  "service accounts": {
    rule: (i) => `
    - from: [{ source: { serviceAccounts: [shop/app${i}] } }]
      to: [{ operation: { methods: [GET], paths: [${THINGS}] } }]`,
    call: (i) => ({ path: THINGS, connection: connectionOf(`ns/shop/sa/app${i}`) }),
    isBrief: true,
  },
  blocks: {
    rule: (i) => `
    - from: [{ source: { ipBlocks: [${blockOf(i)}.0/24] } }]
      to: [{ operation: { methods: [GET], paths: [${THINGS}] } }]`,
    call: (i) => ({ path: THINGS, connection: connectionOf("ns/shop/sa/app0", `${blockOf(i)}.7`) }),
    isBrief: true,
  },
  hosts: {
    rule: (i) => `
    - from: [{ source: { ${APP} } }]
      to: [{ operation: { methods: [GET], hosts: [${name(i)}.example] } }]`,
    call: (i) => ({ host: `${name(i)}.example:8080` }),
    isBrief: true,
  },
  headers: {
    rule: (i) => `
    - from: [{ source: { ${APP} } }]
      when: [{ key: "request.headers[x-tenant]", values: [${name(i)}] }]`,
    call: (i) => ({ headers: ["X-Tenant", fromWire(name(i))] }),
    isBrief: true,
  },
  "two operations": {
    rule: (i) => `
    - from: [{ source: { ${APP} } }]
      to:
        - operation: { methods: [GET], paths: [${THINGS}/${name(i)}] }
        - operation: { methods: [POST], paths: [${THINGS}/${name(i)}/parts] }`,
    call: (i) => ({ path: `${THINGS}/${name(i)}` }),
    isBrief: true,
  },
};

function blockOf(i: number): string {
  return `10.${(i >> 8) & 255}.${i & 255}`;
}

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
  const files = Array.from({ length: Math.ceil(documents.length / POLICIES_PER_FILE) }, (_, i) =>
    documents.slice(i * POLICIES_PER_FILE, (i + 1) * POLICIES_PER_FILE),
  );
  return files.map((some, i) => ({ file: `bench-${i}.yaml`, text: some.join("---\n") }));
}

/** As a sidecar does it: many rules are compiled in a process of their own. */
async function compile(files: readonly PolicyFile[]): Promise<CompiledPolicy> {
  if (!isLargeSet(files)) return loadPolicies(files, options).policy;
  return openPackedPolicy((await compileApart(files, options, { inBackground: false })).packed);
}

/** Of the targets. */
const SPREAD = "a new path";

/** Which rule each call is for: the first, the last, spread over all, or none. */
const targets: Readonly<Record<string, (n: number, count: number) => number>> = {
  first: () => 0,
  last: (_, count) => count - 1,
  [SPREAD]: (n, count) => (n * 7919) % count,
  none: (n) => 900_000 + ((n * 7919) % 90_000),
};

function connectionOf(caller: string, sourceIp = "10.0.0.1"): ConnectionFacts {
  const certificate = { serial: "1", issuer: "", notAfterMs: 0, validUntilMs: 0, fingerprint: "" };
  const peer: Peer = {
    spiffeId: parseSpiffeId(`spiffe://example.org/${caller}`),
    trustDomain,
    ...certificate,
  };
  const addresses = { sourceIp, remoteIp: sourceIp, destinationIp: "10.0.0.2" };
  return { peer, ...addresses, destinationPort: 8080, sni: "" };
}

/** Every path comes from bytes, as it does on the wire, so no text is known to the index before. */
function fromWire(text: string): string {
  return Buffer.from(text).toString("latin1");
}

function callsFor({ call }: Shape, target: (n: number, count: number) => number, count: number): readonly CallFacts[] {
  const shared = connectionOf("ns/shop/sa/app0");
  return Array.from({ length: CALLS }, (_, n) => {
    const { path = THINGS, host = "shop.example:8080", headers = [], connection } = call(target(n, count), n);
    const request = { method: fromWire("GET"), authority: fromWire(host), path: fromWire(path), headers };
    return { connection: connection ?? shared, request };
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

/** Sizes take turns, so that what else the machine does meets all of them; but those beyond the bar have turns of their own, as they leave nothing of
 *  the others in the caches. */
function measureAll(
  policies: readonly CompiledPolicy[],
  calls: readonly (readonly CallFacts[])[],
  wanted: "allow" | "deny",
): readonly Measured[] {
  const inBar = SIZES.filter((size) => size <= MANY).length;
  return [
    ...measure(policies.slice(0, inBar), calls.slice(0, inBar), wanted),
    ...measure(policies.slice(inBar), calls.slice(inBar), wanted),
  ];
}

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
  `Nanoseconds a decision, best round (and median); the last column compares best rounds of ${MANY} and of ${FEW} rules\n`,
);
console.log(
  ["rules share caller, method, prefix".padEnd(36), ...SIZES.map((size) => String(size).padStart(width))].join(""),
);
for (const [called, shape] of Object.entries(shapes)) {
  const policies: CompiledPolicy[] = [];
  for (const size of SIZES) policies.push(await compile(filesOf(shape.rule, size)));
  for (const [which, target] of Object.entries(targets)) {
    if (shape.isBrief && which !== SPREAD) continue;
    const calls = SIZES.map((size) => callsFor(shape, target, size));
    const cells = measureAll(policies, calls, which === "none" ? "deny" : "allow");
    const bestOf = (size: number): number => cells[SIZES.indexOf(size)]?.best ?? Number.NaN;
    const ratio = bestOf(MANY) / bestOf(FEW);
    const shown = cells.map(({ best, median: middle }) => `${best.toFixed(0)} (${middle.toFixed(0)})`.padStart(width));
    console.log(
      [`${called}, ${shape.isBrief ? "each in turn" : which}`.padEnd(36), ...shown, `  × ${ratio.toFixed(2)}`].join(""),
    );
  }
  if (shape.isBrief) continue;
  const denied = SIZES.map((size) => callsFor(shape, targets["none"] ?? (() => -1), size).slice(0, 256));
  const explained = policies.map((policy, i) => {
    const times = Array.from({ length: ROUNDS }, () => {
      const start = performance.now();
      for (const facts of denied[i] ?? []) if (decide(policy, facts).reason === "") throw new Error("no reason");
      return ((performance.now() - start) * 1e6) / 256;
    });
    return `${Math.min(...times).toFixed(0)} (${median(times).toFixed(0)})`.padStart(width);
  });
  console.log([`${called}, none, its reason read`.padEnd(36), ...explained].join(""));
}

console.log(
  "\nLoads from YAML (exact paths), and how long each stops other work in its process: longest turn of the event loop\n",
);
const nowMs = () => performance.now();
const nextTurn = () => new Promise<void>((resolve) => void setImmediate(resolve));
const nextMs = () => new Promise<void>((resolve) => void setTimeout(resolve, 1));

function exactPaths(count: number): readonly PolicyFile[] {
  return filesOf(shapes["exact paths"]?.rule ?? (() => ""), count);
}

/** What a load takes, and the longest time for which nothing else could happen: seen by a timer, as a loop that never rests takes a processor from
 *  the load. */
async function timeLoad<T>(load: () => Promise<T>): Promise<{ result: T; tookMs: number; longestMs: number }> {
  let longestMs = 0;
  let isDone = false;
  const turnsPass = (async () => {
    for (let last = nowMs(); !isDone; ) {
      await nextMs();
      longestMs = Math.max(longestMs, nowMs() - last - 1);
      last = nowMs();
    }
  })();
  const start = nowMs();
  const result = await load();
  const tookMs = nowMs() - start;
  isDone = true;
  await turnsPass;
  return { result, tookMs, longestMs };
}

function sizeOf({ layout, rules }: PackedPolicy): number {
  const texts = [rules.ids, rules.rules, rules.policies].reduce(
    (sum, { bytes, starts }) => sum + bytes.byteLength + starts.byteLength,
    0,
  );
  return layout.memory.words.byteLength + texts;
}

for (const size of [10_000, 100_000]) {
  const files = exactPaths(size);
  const loads: Awaited<ReturnType<typeof timeLoad<PackedPolicy>>>[] = [];
  for (let i = 0; i < (size > 10_000 ? 1 : 5); i++)
    loads.push(await timeLoad(async () => (await compileApart(files, options, { inBackground: true })).packed));
  const packed = loads[0]?.result;
  const opening = nowMs();
  if (packed !== undefined) openPackedPolicy(packed);
  const opened = nowMs() - opening;
  const [took, longest] = [median(loads.map(({ tookMs }) => tookMs)), median(loads.map(({ longestMs }) => longestMs))];
  console.log(
    `${size} rules in a process of their own: ${took.toFixed(0)} ms, opened in ${opened.toFixed(1)} ms; longest turn ${longest.toFixed(1)} ms; ` +
      `${(packed === undefined ? 0 : sizeOf(packed) / 1e6).toFixed(1)} MB stay`,
  );
}
const few = exactPaths(700);
const inTurns = await timeLoad(() => loadPoliciesInTurns(few, options, { nowMs, pause: nextTurn }));
console.log(`700 rules in turns: ${inTurns.tookMs.toFixed(0)} ms, longest turn ${inTurns.longestMs.toFixed(1)} ms`);
