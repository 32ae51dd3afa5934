import { expect, it, onTestFinished } from "vitest";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import { policyOptionsOf } from "../../src/cli/policy-options.ts";
import { parseSidecarConfig } from "../../src/config/load-sidecar-config.ts";
import { parseTrustDomain } from "../../src/core/spiffe-id.ts";
import { startSidecar } from "../../src/proxy/sidecar.ts";
import { startApp } from "../support/app.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { controlledIdentity } from "../support/controlled-identity.ts";
import { memoryAudit } from "../support/memory-audit.ts";
import { ORDERS, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { tlsClient } from "../support/tls-client.ts";

it("an SVID that comes while the listeners open is served with", async () => {
  const app = await startApp((_, response) => response.end("served"));
  onTestFinished(() => app.close());
  const yaml = `workload: { namespace: shop }
identity: { files: { svid: svid.pem, key: svid.key, bundles: { example.org: bundle.pem } } }
authorization: { default: allow }
inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }]
`;
  const { config } = parseSidecarConfig(yaml, "/test/countersign.yaml", {});
  const ca = createTestCa(TRUST_DOMAIN);
  const identity = controlledIdentity();
  const nothing = (): void => undefined;
  const starting = startSidecar({
    config,
    policy: loadPolicies([], policyOptionsOf(config, parseTrustDomain(TRUST_DOMAIN))).policy,
    identity,
    audit: memoryAudit(),
    recorder: { recordCall: nothing, connectionOpened: nothing, connectionClosed: nothing },
    log: { info: nothing, warn: nothing },
  });
  identity.serve(ca.issue({ spiffeId: ORDERS }), [ca]);
  const sidecar = await starting;
  onTestFinished(async () => void (await sidecar.drain(0)));
  const address = sidecar.listeners[0]?.address ?? "";
  const client = await tlsClient(Number(address.slice(address.lastIndexOf(":") + 1)), ca.issue({ spiffeId: WEB }));
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  expect(await client.until((received) => received.endsWith("served"))).toContain("200 OK");
  client.socket.destroy();
});
