import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createTestCa } from "../../../test/support/cert-factory.ts";
import { type ControlledIdentity, controlledIdentity } from "../../../test/support/controlled-identity.ts";
import { strictPolicyOptions } from "../../../test/support/strict-policy-options.ts";
import { createAuditLog } from "../../audit/audit-log.ts";
import { createAuditCells } from "../../audit/shared-places.ts";
import { parseSidecarConfig } from "../../config/load-sidecar-config.ts";
import { CountersignError, CountersignErrors } from "../../core/errors.ts";
import { systemClock } from "../../sys/system-clock.ts";
import type { PolicyInputs } from "./messages.ts";
import { startWorkerGroup, type WorkerGroup } from "./worker-group.ts";

const WORKERS = 2;
const policies = (text: string): PolicyInputs => ({
  files: text === "" ? [] : [{ file: "policies.yaml", text }],
  options: strictPolicyOptions(),
});
const EVERYBODY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: any, namespace: shop }
spec: { rules: [{}] }
`;
const { config } = parseSidecarConfig(
  `identity: { workloadApi: { address: "unix:///run/agent.sock" } }
outbound: [{ name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:9"], identity: "spiffe://example.org/a", protocol: http, jwtSvid: { audience: them } }]
`,
  "/etc/c.yaml",
  {},
);

let identity: ControlledIdentity;
let asked: string[];
let changed: number;
let group: WorkerGroup;
beforeEach(async () => {
  identity = controlledIdentity();
  asked = [];
  changed = 0;
  identity.jwtSvid = (audience) => {
    asked.push(audience);
    return new Promise(() => undefined);
  };
  const cells = createAuditCells(WORKERS);
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
  group = await startWorkerGroup({
    entry: new URL("../../cli/sidecar-worker.ts", import.meta.url),
    workers: WORKERS,
    config: { ...config, logLevel: "silent" },
    policies: policies(""),
    identity,
    audit: createAuditLog(config.audit, systemClock, silent, new PassThrough(), cells),
    cells,
    log: silent,
    onChange: () => changed++,
  });
});
afterEach(async () => {
  expect(await group.drain(0)).toBe(0);
});

it("the agent is asked once for a JWT-SVID that every worker wants", () => {
  // a worker says that it has started after it has asked
  expect(asked).toEqual(["them"]);
});

it("is whole again only when every worker has the identity", async () => {
  expect(group.problems).toEqual([]);
  const ca = createTestCa("example.org");
  identity.serve(ca.issue({ spiffeId: "spiffe://example.org/b" }), [ca]);
  group.sendIdentity();
  expect(group.problems.map(({ code, message }) => `${code} ${message}`)).toEqual([
    "E_STARTING worker 1 has no SVID yet",
    "E_STARTING worker 2 has no SVID yet",
  ]);
  await group.refresh();
  expect(group.problems).toEqual([]);
  expect(changed).toBe(WORKERS);
  expect(group.views.map(({ report }) => report.identity)).toEqual(["serving", "serving"]);
  identity.set({ kind: "revoked", problem: new CountersignError("E_IDENTITY_REVOKED", "no identity any more") });
  group.sendIdentity();
  await group.refresh();
  expect(group.views.map(({ report }) => report.identity)).toEqual(["revoked", "revoked"]);
});

it("policies are in force in every worker once that is said, and in none where they cannot be compiled", async () => {
  await group.setPolicies(policies(EVERYBODY));
  await group.refresh();
  const versions = group.views.map(({ report }) => report.policyVersion);
  expect(new Set(versions).size).toBe(1);
  await expect(group.setPolicies(policies("kind: Nothing\n"))).rejects.toThrow(CountersignErrors);
  await group.refresh();
  expect(group.views.map(({ report }) => report.policyVersion)).toEqual(versions);
});
