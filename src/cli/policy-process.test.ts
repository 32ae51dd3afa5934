import { afterEach, expect, it, vi } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { decide } from "../authz/decide.ts";
import { openPackedPolicy, readyToOpen } from "../authz/load-policies.ts";
import { CountersignErrors } from "../core/errors.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { compileApart, isLargeSet } from "./policy-process.ts";

// as if another build were installed meanwhile, which the process that compiles would be of
const running = vi.hoisted(() => ({ build: undefined as string | undefined }));
vi.mock("./version.ts", async (original) => {
  const actual = await original<typeof import("./version.ts")>();
  return { ...actual, countersignBuild: () => running.build ?? actual.countersignBuild() };
});

afterEach(() => {
  vi.unstubAllEnvs();
  running.build = undefined;
});

const options = strictPolicyOptions({
  localTrustDomain: parseTrustDomain("example.org"),
});

function rules(count: number): string {
  const documents = Array.from({ length: Math.ceil(count / 500) }, (_, p) => {
    const paths = Array.from({ length: Math.min(500, count - 500 * p) }, (_rule, i) => `/things/${500 * p + i}`);
    const all = paths.map((path) => `    - to: [{ operation: { paths: [${path}] } }]`).join("\n");
    const head = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p${p}, namespace: shop }\n`;
    return `${head}spec:\n  rules:\n${all}\n`;
  });
  return documents.join("---\n");
}

function call(path: string): Parameters<typeof decide>[1] {
  const addresses = { sourceIp: "10.0.0.1", remoteIp: "10.0.0.1", destinationIp: "10.0.0.2" };
  const connection = { peer: undefined, ...addresses, destinationPort: 8080, sni: "" };
  return { connection, request: { method: "GET", authority: "shop", path, headers: [] } };
}

async function errorsOf(loading: Promise<unknown>): Promise<CountersignErrors> {
  const error: unknown = await loading.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof CountersignErrors) return error;
  throw new Error("no CountersignErrors", { cause: error });
}

it.each([false, true])("compiles policies in a process, in the background: %s", async (inBackground) => {
  const files = [{ file: "p.yaml", text: rules(1_200) }];
  const { packed, warnings } = await compileApart(files, options, { inBackground });
  const policy = openPackedPolicy(packed);
  expect([policy.ruleCount, policy.policyCount, warnings]).toEqual([1_200, 3, []]);
  expect(decide(policy, call("/things/1199"))).toMatchObject({
    kind: "allow",
    permit: { rule: "ns[shop]-policy[p2]-rule[199]" },
  });
  expect(decide(policy, call("/things/1200"))).toMatchObject({
    kind: "deny",
    nearest: { field: "to[0].operation.paths" },
  });
});

it("brings conditions along", async () => {
  const text = `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec: { rules: [{ conditions: 'request.path == "/a"' }] }
`;
  const { packed } = await compileApart([{ file: "p.yaml", text }], options, { inBackground: true });
  await readyToOpen(packed);
  const policy = openPackedPolicy(packed);
  expect([decide(policy, call("/a")).kind, decide(policy, call("/b")).kind]).toEqual(["allow", "deny"]);
});

it("says what is wrong with policies, and where", async () => {
  const { errors } = await errorsOf(
    compileApart([{ file: "p.yaml", text: `${rules(1)}nothing: 1\n` }], options, { inBackground: true }),
  );
  expect(errors).toMatchObject([
    { code: "E_POLICY_UNKNOWN_KEY", at: { file: "p.yaml", line: 7, column: 1 }, fix: expect.any(String) },
  ]);
});

it("is an error, and no end of anything else, when the process has too little memory", async () => {
  const loading = compileApart([{ file: "p.yaml", text: rules(20_000) }], options, {
    inBackground: false,
    maxHeapMb: 24,
  });
  const { errors } = await errorsOf(loading);
  expect(errors).toMatchObject([{ code: "E_POLICY_PROCESS", message: expect.stringContaining("SIGABRT") }]);
});

it("does not wait for a process that gets no time from others", async () => {
  const files = [{ file: "p.yaml", text: rules(1_200) }];
  const { packed } = await compileApart(files, options, { inBackground: true, patienceMs: 1 });
  expect(openPackedPolicy(packed).ruleCount).toBe(1_200);
});

it.each([false, true])(
  "is called off when the sidecar stops, before and while it compiles; in the background: %s",
  async (inBackground) => {
    const files = [{ file: "p.yaml", text: rules(20_000) }];
    const before = AbortSignal.abort();
    const stop = new AbortController();
    const loading = [before, stop.signal].map((signal) =>
      errorsOf(compileApart(files, options, { inBackground, signal })),
    );
    setImmediate(() => stop.abort());
    for (const { errors } of await Promise.all(loading))
      expect(errors).toMatchObject([{ code: "E_POLICY_PROCESS", message: "the sidecar stops" }]);
  },
);

it("takes nothing that another build compiled", async () => {
  running.build = "older";
  const loading = compileApart([{ file: "p.yaml", text: rules(1) }], options, { inBackground: true });
  const { errors } = await errorsOf(loading);
  expect(errors).toMatchObject([{ code: "E_POLICY_PROCESS", fix: "restart it" }]);
});

it("keeps options that are meant for this process", async () => {
  vi.stubEnv("NODE_OPTIONS", "--require=/nowhere.cjs");
  const files = [{ file: "p.yaml", text: rules(1) }];
  const { packed } = await compileApart(files, options, { inBackground: true });
  expect(openPackedPolicy(packed).ruleCount).toBe(1);
});

it("takes a set for large when its files are together", () => {
  const file = { file: "p.yaml", text: "x".repeat(70_000) };
  expect([isLargeSet([]), isLargeSet([file]), isLargeSet([file, file])]).toEqual([false, false, true]);
});
