import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createTestCa, testSvid } from "../../test/support/cert-factory.ts";
import { controlledIdentity } from "../../test/support/controlled-identity.ts";
import { fakeClock } from "../../test/support/fake-clock.ts";
import type { RunningAuditLog } from "../audit/audit-log.ts";
import { createSwappableSource } from "../certs/swappable-source.ts";
import { parseSidecarConfig } from "../config/load-sidecar-config.ts";
import { newestThatFit } from "../config/newest-that-fit.ts";
import { openPolicySet } from "../config/policy-set.ts";
import { CountersignError, CountersignErrors } from "../core/errors.ts";
import type { IdentityState } from "../core/identity.ts";
import { systemClock } from "../sys/system-clock.ts";
import { createLogger } from "../telemetry/logger.ts";
import { createTelemetry } from "../telemetry/telemetry.ts";
import type { DataPlane } from "./data-plane.ts";
import { createSidecarPolicies, type SidecarPolicies } from "./sidecar-policies.ts";
import { createReloads } from "./sidecar-reload.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-reload-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true, maxRetries: 10 }));

function policy(name: string): string {
  const head = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: shop }\n`;
  return `${head}spec: { rules: [{ to: [{ operation: { paths: [/${name}] } }] }] }\n`;
}

function configText(policies: string, more = ""): string {
  return `workload: { namespace: shop }
identity: { files: { svid: svid.pem, key: svid.key, bundles: { example.org: bundle.pem } } }
policies: [${policies}]
inbound: [{ name: in, listen: "127.0.0.1:15006", app: "127.0.0.1:8080", protocol: http }]
${more}`;
}

function servingAs(trustDomain: string): IdentityState {
  const svid = testSvid(createTestCa(trustDomain).issue({ spiffeId: `spiffe://${trustDomain}/ns/shop/sa/orders` }));
  return { kind: "serving", snapshot: { generation: 1, svids: [svid], bundles: new Map() } };
}

type ReloadParts = Parameters<typeof createReloads>[0];

/** With an identity that nothing changes, and nobody who listens. */
function reloadsOf(
  own: Pick<ReloadParts, "file" | "config" | "text" | "policies" | "set" | "log" | "clock" | "signal">,
): ReturnType<typeof createReloads> {
  return createReloads({
    ...own,
    env: {},
    telemetry: createTelemetry(),
    audit: { event: () => undefined } as Partial<RunningAuditLog> as RunningAuditLog,
    identity: createSwappableSource(controlledIdentity()),
    openIdentity: controlledIdentity,
    pages: () => undefined,
    onPolicies: () => undefined,
  });
}

it("has the files of a new configuration and the trust domain of an SVID that came meanwhile in force", async () => {
  const file = join(dir, "countersign.yaml");
  const text = configText("old.yaml");
  for (const name of ["old", "new"]) writeFileSync(join(dir, `${name}.yaml`), policy(name));
  writeFileSync(file, text);
  const { config } = parseSidecarConfig(text, file, {});
  const set = await openPolicySet(config, systemClock);
  const { compiled: policies, settle } = await newestThatFit(set.candidates, (files) =>
    createSidecarPolicies(config, files, () => 0),
  );
  settle();
  const [opening, opened] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
  const announced = Promise.withResolvers<undefined>();
  let enforced = policies.compiled.policy;
  const plane: Partial<DataPlane> = {
    hasWorkers: false,
    setPolicy(next) {
      enforced = next.policy;
      return undefined;
    },
    async setConfig(_, next) {
      opening.resolve(undefined);
      await opened.promise;
      enforced = next.policy;
    },
  };
  const loaded: string[] = [];
  const log = createLogger("info", {
    write(line) {
      const { event, version } = JSON.parse(line) as { readonly event: string; readonly version?: string };
      if (event !== "policy.loaded" || version === undefined) return;
      loaded.push(version);
      if (loaded.length === 2) announced.resolve(undefined);
    },
  });
  const stop = new AbortController();
  const clock = systemClock;
  const { signal } = new AbortController();
  const reloads = reloadsOf({ file, config, text, policies, set, log, clock, signal });
  reloads.start(plane as DataPlane, stop.signal);

  writeFileSync(file, configText("new.yaml", "trustedProxies: [10.0.0.1]"));
  reloads.reloadNow();
  await opening.promise;
  void reloads.adoptIdentity(servingAs("other.example"));
  opened.resolve(undefined);
  await announced.promise;
  stop.abort();

  expect(enforced.policies.map(({ name }) => name)).toEqual(["new"]);
  expect(enforced.options.localTrustDomain).toBe("other.example");
  expect([policies.state.policy, loaded.at(-1)]).toEqual([enforced, enforced.version]);
});

it("compiles newest policies again, though nothing changes, after the process for it was lost", async () => {
  const file = join(dir, "countersign.yaml");
  const text = configText("p.yaml");
  writeFileSync(join(dir, "p.yaml"), policy("old"));
  writeFileSync(file, text);
  const { config } = parseSidecarConfig(text, file, {});
  const clock = fakeClock();
  const set = await openPolicySet(config, clock);
  const { compiled: held, settle } = await newestThatFit(set.candidates, (files) =>
    createSidecarPolicies(config, files, () => 0),
  );
  settle();
  const inForce = (): readonly string[] => held.state.policy.policies.map(({ name }) => name);
  let losses = 2;
  const policies: SidecarPolicies = {
    get state() {
      return held.state;
    },
    get compiled() {
      return held.compiled;
    },
    get files() {
      return held.files;
    },
    get localTrustDomain() {
      return held.localTrustDomain;
    },
    get isLarge() {
      return held.isLarge;
    },
    prepareNow: (trustDomain) => held.prepareNow(trustDomain),
    prepare(change) {
      const isNew = change.files?.some((one) => one.text.includes("new")) === true;
      if (!isNew || losses-- <= 0) return held.prepare(change);
      return Promise.reject(new CountersignErrors([new CountersignError("E_POLICY_PROCESS", "lost")]));
    },
  };
  const events: string[] = [];
  const log = createLogger("info", {
    write: (line) => void events.push((JSON.parse(line) as { readonly event: string }).event),
  });
  const stop = new AbortController();
  const { signal } = stop;
  const reloads = reloadsOf({ file, config, text, policies, set, log, clock, signal });
  const plane: Partial<DataPlane> = { hasWorkers: false, setPolicy: () => undefined };
  reloads.start(plane as DataPlane, stop.signal);

  writeFileSync(join(dir, "p.yaml"), policy("new"));
  reloads.reloadNow();
  const rejections = (count: number): Promise<void> =>
    vi.waitFor(
      () => {
        clock.advance(count === 1 ? 100 : 10_000);
        expect(events.filter((event) => event === "policy.rejected")).toHaveLength(count);
      },
      { interval: 2, timeout: 10_000 },
    );
  await rejections(1);
  expect([inForce(), reloads.error?.errors.map(({ code }) => code)]).toEqual([["old"], ["E_POLICY_PROCESS"]]);
  await rejections(2);
  await vi.waitFor(
    () => {
      clock.advance(10_000);
      expect([inForce(), reloads.error]).toEqual([["new"], undefined]);
    },
    { interval: 2, timeout: 10_000 },
  );
  stop.abort();
});
