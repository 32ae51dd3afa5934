import type { CompiledPolicy } from "../../src/authz/compiled-policy.ts";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import "../../src/authz/use-cel.ts";
import { policyOptionsOf } from "../../src/cli/policy-options.ts";
import { parseSidecarConfig } from "../../src/config/load-sidecar-config.ts";
import type { SidecarConfig } from "../../src/config/sidecar-config.ts";
import { parseTrustDomain } from "../../src/core/spiffe-id.ts";
import { type Sidecar, startSidecar } from "../../src/proxy/sidecar.ts";
import type { NameTtl } from "../../src/proxy/upstream/name-ttl.ts";
import type { ResolveName } from "../../src/proxy/upstream/system-resolve.ts";
import { createTestCa, type TestCa, type TestIssued } from "./cert-factory.ts";
import { type ControlledIdentity, controlledIdentity } from "./controlled-identity.ts";
import { type MemoryAudit, memoryAudit } from "./memory-audit.ts";

export const TRUST_DOMAIN = "example.org";
export const WEB = "spiffe://example.org/ns/shop/sa/web";
export const ORDERS = "spiffe://example.org/ns/shop/sa/orders";

/** One sidecar of a test, in this process. */
export interface TestSidecar {
  readonly sidecar: Sidecar;
  readonly audit: MemoryAudit;
  readonly identity: ControlledIdentity;
  readonly config: SidecarConfig;
  /** Port of the listener with that name. */
  port(name: string): number;
  setPolicies(yaml: string): void;
  compile(yaml: string): CompiledPolicy;
}

export interface TestSidecarOptions {
  /** countersign.yaml without `identity`, `workload` and `policies`. */
  readonly config: string;
  readonly policies?: string;
  readonly ca: TestCa;
  /** Further trust domains to trust. */
  readonly trusted?: readonly TestCa[];
  /** The SVID; undefined: none yet. */
  readonly svid: TestIssued | undefined;
  /** Absent: the machine's. */
  readonly resolve?: ResolveName;
  readonly ttlOf?: NameTtl;
}

const SILENT = { info: () => undefined, warn: () => undefined };
const NO_METRICS = {
  recordCall: () => undefined,
  connectionOpened: () => undefined,
  connectionClosed: () => undefined,
};

export async function startTestSidecar(options: TestSidecarOptions): Promise<TestSidecar> {
  const yaml = `workload: { namespace: shop, labels: { app: orders } }
identity: { files: { svid: svid.pem, key: svid.key, bundles: { example.org: bundle.pem } } }
${options.config}`;
  const { config } = parseSidecarConfig(yaml, "/test/countersign.yaml", {});
  const compile = (text: string): CompiledPolicy =>
    loadPolicies(
      text === "" ? [] : [{ file: "policies.yaml", text }],
      policyOptionsOf(config, parseTrustDomain(TRUST_DOMAIN)),
    ).policy;
  const audit = memoryAudit();
  const identity = controlledIdentity();
  if (options.svid !== undefined) identity.serve(options.svid, [options.ca, ...(options.trusted ?? [])]);
  const sidecar = await startSidecar({
    config,
    policy: compile(options.policies ?? ""),
    identity,
    audit,
    recorder: NO_METRICS,
    log: SILENT,
    ...(options.resolve === undefined ? {} : { resolve: options.resolve }),
    ...(options.ttlOf === undefined ? {} : { ttlOf: options.ttlOf }),
  });
  return {
    sidecar,
    audit,
    identity,
    config,
    port(name) {
      const address = sidecar.listeners.find((one) => one.name === name)?.address ?? "";
      return Number(address.slice(address.lastIndexOf(":") + 1));
    },
    compile,
    setPolicies: (text) => sidecar.setPolicy(compile(text)),
  };
}

/** ALLOW everything that web does. */
export const ALLOW_WEB = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  action: ALLOW
  rules:
    - from: [{ source: { principals: [example.org/ns/shop/sa/web] } }]
`;

export interface Mesh {
  readonly ca: TestCa;
  readonly inbound: TestSidecar;
  readonly outbound: TestSidecar;
  /** Port of the outbound listener that leads to the app. */
  readonly port: number;
  /** Port of the inbound listener. */
  readonly meshPort: number;
  close(): Promise<void>;
}

export interface MeshOptions {
  readonly appPort: number;
  readonly protocol?: string;
  /** Of the inbound listener, where it differs. */
  readonly appProtocol?: string;
  /** More keys of the inbound listener, YAML flow style: `mtls: permissive`. */
  readonly inbound?: string;
  readonly outbound?: string;
  /** More top-level keys for both: `timeouts: { head: 1s }`. */
  readonly both?: string;
  /** More top-level keys of the inbound side. */
  readonly inboundSide?: string;
  readonly policies?: string;
  readonly serverId?: string;
  readonly expected?: string;
}

/** web's sidecar → orders' sidecar → an app on loopback. */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const ca = createTestCa(TRUST_DOMAIN);
  const protocol = options.protocol ?? "http";
  const inbound = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: options.serverId ?? ORDERS }),
    policies: options.policies ?? ALLOW_WEB,
    config: `inbound:
  - { name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${options.appPort}", protocol: ${options.appProtocol ?? protocol}${options.inbound === undefined ? "" : `, ${options.inbound}`} }
${options.both ?? ""}
${options.inboundSide ?? ""}`,
  });
  const meshPort = inbound.port("in");
  const outbound = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: WEB }),
    config: `outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${meshPort}"], identity: "${options.expected ?? ORDERS}", protocol: ${protocol}${options.outbound === undefined ? "" : `, ${options.outbound}`} }
${options.both ?? ""}`,
  });
  return {
    ca,
    inbound,
    outbound,
    port: outbound.port("out"),
    meshPort,
    close: async () => {
      await Promise.all([outbound.sidecar.drain(0), inbound.sidecar.drain(0)]);
    },
  };
}
