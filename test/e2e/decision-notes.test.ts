import { expect, it, onTestFinished } from "vitest";
import { startApp } from "../support/app.ts";
import type { MemoryAudit } from "../support/memory-audit.ts";
import { ALLOW_WEB, startMesh } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { serialiseOutcome } from "../support/serialise-record.ts";

/** The callee's record of one GET, as it is written. */
async function recordOf(policies: string): Promise<Record<string, unknown>> {
  const app = await startApp((_, response) => response.end("ok"));
  onTestFinished(() => app.close());
  const mesh = await startMesh({ appPort: app.port, policies });
  onTestFinished(() => mesh.close());
  const client = await rawClient(mesh.port);
  client.send("GET /orders HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.until((text) => text.includes("\r\n\r\n"));
  const { audit }: { audit: MemoryAudit } = mesh.inbound;
  return JSON.parse(serialiseOutcome(await audit.next(() => true), 1)) as Record<string, unknown>;
}

const policy = (name: string, action: string, rule: string, more = ""): string => `---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop${more} }
spec: { action: ${action}, rules: [${rule}] }
`;
const DRY = ', annotations: { istio.io/dry-run: "true" }';

it("says what a dry run would have denied, and lets it pass", async () => {
  const record = await recordOf(ALLOW_WEB + policy("stop", "DENY", "{}", DRY));
  expect(record).toMatchObject({
    decision: "would-deny",
    status: 200,
    rule: "ns[shop]-policy[web]-rule[0]",
    dry_run: { decision: "deny", rule: "ns[shop]-policy[stop]-rule[0]" },
  });
});

it("says what a dry run would have allowed, and denies it", async () => {
  const record = await recordOf(ALLOW_WEB.replace("sa/web", "sa/other") + policy("all", "ALLOW", "{}", DRY));
  expect(record).toMatchObject({ decision: "deny", status: 403, dry_run: { decision: "allow" } });
});

it("says of a call that a new policy lets go on what that policy says, by its version and rule", async () => {
  const { promise: asked, resolve: onAsked } = Promise.withResolvers<() => void>();
  const app = await startApp((_, response) => {
    response.write("begun");
    onAsked(() => response.end());
  });
  onTestFinished(() => app.close());
  const mesh = await startMesh({ appPort: app.port, policies: ALLOW_WEB });
  onTestFinished(() => mesh.close());
  const client = await rawClient(mesh.port);
  client.send("GET /orders HTTP/1.1\r\nHost: a\r\n\r\n");
  const end = await asked;
  await client.until((text) => text.includes("begun"));
  const next = mesh.inbound.compile(policy("next", "ALLOW", "{}") + policy("mark", "AUDIT", "{}"));
  mesh.inbound.sidecar.setPolicy(next);
  end();
  expect(JSON.parse(serialiseOutcome(await mesh.inbound.audit.next(() => true), 1))).toMatchObject({
    decision: "allow",
    policy: { version: next.version },
    rule: "ns[shop]-policy[next]-rule[0]",
    audit_rule: "ns[shop]-policy[mark]-rule[0]",
  });
});

it("is marked by an AUDIT rule", async () => {
  const record = await recordOf(ALLOW_WEB + policy("mark", "AUDIT", "{}"));
  expect(record).toMatchObject({ decision: "allow", audit_rule: "ns[shop]-policy[mark]-rule[0]" });
  expect(record).not.toHaveProperty("dry_run");
});

it("names the conditions that ended in an error", async () => {
  const record = await recordOf(policy("cel", "ALLOW", "{ conditions: \"request.headers['x-none'] == 'a'\" }"));
  expect(record).toMatchObject({
    decision: "deny",
    condition_faults: [{ rule: "ns[shop]-policy[cel]-rule[0]", message: expect.any(String) }],
  });
});
