import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv } from "ajv";
import { describe, expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import type { PolicyOptions } from "../../src/authz/policy-options.ts";
import { policyTestJsonSchema } from "../../src/config/policy-test-file.ts";
import { CountersignErrors } from "../../src/core/errors.ts";
import { parseTrustDomain } from "../../src/core/spiffe-id.ts";
import { policyJsonSchema } from "../../src/policy-tools/policy-json-schema.ts";
import "../../src/authz/use-cel.ts";

const root = join(import.meta.dirname, "..", "..");
const ajv = new Ajv({ allowUnionTypes: true });
const fits = ajv.compile(policyJsonSchema());

const options: PolicyOptions = {
  mode: "strict",
  default: "deny",
  pathNormalization: "MERGE_SLASHES",
  rootNamespace: "istio-system",
  workload: { namespace: "shop", labels: new Map([["app", "orders"]]) },
  localTrustDomain: parseTrustDomain("example.org"),
  trustDomainAliases: [],
  listeners: [{ name: "web", appPort: 8080, protocol: "http" }],
};

function errorsOf(document: unknown): readonly Refused[] {
  try {
    loadPolicies([{ file: "p.yaml", text: JSON.stringify(document) }], options);
    return [];
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    return error.errors.map(({ code, message, fix = "" }) => ({ code, message, fix }));
  }
}

interface Refused {
  readonly code: string;
  readonly message: string;
  readonly fix: string;
}

interface TabledDocument {
  readonly apiVersion?: unknown;
  readonly spec?: object | null;
}

/** Every document of the conformance tables; each rule of `allow` and `deny` as a policy of its own. */
function documentsOfTables(): readonly TabledDocument[] {
  const folder = join(root, "test", "conformance", "authorization");
  const head = { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy" };
  const metadata = { name: "p", namespace: "shop" };
  return readdirSync(folder)
    .filter((file) => file.endsWith(".yaml") && file !== "sentences.yaml")
    .flatMap((file) => parse(readFileSync(join(folder, file), "utf8")) as readonly TabledCase[])
    .flatMap(({ allow = [], deny = [], documents = [], text }) => [
      ...[allow].flat().map((rule) => ({ ...head, metadata, spec: { rules: [rule] } })),
      ...[deny].flat().map((rule) => ({ ...head, metadata, spec: { action: "DENY", rules: [rule] } })),
      ...documents.map((one) => ({ ...head, ...one })),
      ...(text === undefined ? [] : documentsOf(text)),
    ]);
}

interface TabledCase {
  readonly allow?: readonly unknown[];
  readonly deny?: readonly unknown[];
  readonly documents?: readonly object[];
  readonly text?: string;
}

/** Those of a text that are a mapping at all: some texts are no YAML on purpose. */
function documentsOf(text: string): readonly TabledDocument[] {
  return parseAllDocuments(text)
    .filter(({ errors }) => errors.length === 0)
    .map((one) => one.toJS() as unknown)
    .filter((one): one is TabledDocument => typeof one === "object" && one !== null && !Array.isArray(one));
}

it.each([
  ["policy.schema.json", policyJsonSchema()],
  ["policy-test.schema.json", policyTestJsonSchema()],
])("config/%s is what tools/generate-schema.mjs writes", (name, schema) => {
  expect(JSON.parse(readFileSync(join(root, "config", name), "utf8"))).toEqual(schema);
});

describe("the schema for editors", () => {
  it.each(["config/policies", "docs"])("takes every policy of %s", (folder) => {
    const texts = readdirSync(join(root, folder)).flatMap((name) => {
      const text = readFileSync(join(root, folder, name), "utf8");
      return name.endsWith(".md")
        ? [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, block = ""]) => block)
        : [text];
    });
    const documents = texts
      .filter((text) => /apiVersion: (?:security\.istio\.io|countersign\.dev)/.test(text))
      .flatMap((text) => parseAllDocuments(text).map((one) => one.toJS() as unknown))
      .filter((one) => one !== null);
    expect(documents.length).toBeGreaterThan(1);
    for (const one of documents) expect([fits(one), one]).toEqual([true, one]);
  });

  const tabled = documentsOfTables();

  it("takes every policy of the conformance tables, Istio's documentation among them, that loads in strict mode", () => {
    // An empty text or list that means nothing is taken by the loader where a person would not want it.
    const good = tabled.filter((one) => errorsOf(one).length === 0 && !("targetRefs" in (one.spec ?? {})));
    for (const one of good)
      expect([fits(one), one, fits.errors?.map(({ instancePath, message }) => `${instancePath} ${message}`)]).toEqual([
        true,
        one,
        undefined,
      ]);
    expect(good.length).toBeGreaterThan(200);
  });

  /** What depends on the mode, on the configuration, on other documents or on what a text means. */
  const beyondSchemas = new Set([
    "E_POLICY_CONDITION",
    "E_POLICY_CONDITION_COST",
    "E_POLICY_JWKS",
    "E_POLICY_MISSING",
    "E_POLICY_MTLS",
    "E_POLICY_PROVIDER",
    "E_POLICY_TCP_PORT",
    "E_POLICY_UNSUPPORTED",
    "E_POLICY_URL",
    "E_POLICY_WHEN_KEY",
  ]);
  const beyondTexts = [
    "names no subject", // of a request principal
    "stands in the root namespace",
    "istio.io/dry-run does nothing on action",
  ];

  it("refuses what the loader refuses, but for what no schema can know", () => {
    const bad = tabled.filter((one) => {
      const errors = errorsOf(one);
      const isBeyond = ({ code, message }: { code: string; message: string }) =>
        beyondSchemas.has(code) || beyondTexts.some((text) => message.includes(text));
      return errors.length > 0 && !errors.every(isBeyond);
    });
    expect(bad.filter((one) => fits(one))).toEqual([]);
    expect(bad.length).toBeGreaterThan(50);
  });

  const at = (spec: object, apiVersion = "security.istio.io/v1", kind = "AuthorizationPolicy") => ({
    apiVersion,
    kind,
    metadata: { name: "p", namespace: "shop" },
    spec,
  });
  const rule = (one: object, apiVersion?: string, more: object = {}) => at({ rules: [one], ...more }, apiVersion);
  const OURS = "countersign.dev/v1";

  /** Each mapping of the format: a document with an unknown key there, and where the schema has the mapping's keys. */
  it.each<[string, object, () => readonly string[]]>([
    ["spec", at({ zzz: 1 }), () => keysAt(0, "spec")],
    ["spec of ours", at({ zzz: 1 }, OURS), () => keysAt(1, "spec")],
    ["a rule", rule({ zzz: 1 }), () => keysAt(0, "spec", "rules")],
    ["a rule of ours", rule({ zzz: 1 }, OURS), () => keysAt(1, "spec", "rules")],
    ["source", rule({ from: [{ source: { zzz: 1 } }] }), () => keysAt(0, "spec", "rules", "from", "source")],
    ["operation", rule({ to: [{ operation: { zzz: 1 } }] }), () => keysAt(0, "spec", "rules", "to", "operation")],
    [
      "operation of an OUTBOUND policy",
      rule({ to: [{ operation: { zzz: 1 } }] }, OURS, { direction: "OUTBOUND" }),
      () => keysAt(1, "spec", "rules", "to", "operation"),
    ],
    [
      "when",
      rule({ when: [{ zzz: 1, key: "source.ip", values: ["10.0.0.1"] }] }),
      () => keysAt(0, "spec", "rules", "when"),
    ],
    ["spec of a PeerAuthentication", at({ zzz: 1 }, undefined, "PeerAuthentication"), () => keysAt(2, "spec")],
    ["spec of a RequestAuthentication", at({ zzz: 1 }, undefined, "RequestAuthentication"), () => keysAt(3, "spec")],
    [
      "a jwtRule",
      at({ jwtRules: [{ zzz: 1 }] }, undefined, "RequestAuthentication"),
      () => keysAt(3, "spec", "jwtRules"),
    ],
  ])("knows the keys of %s that the loader knows", (_, document, keys) => {
    const { fix } = errorsOf(document).find(({ code }) => code === "E_POLICY_UNKNOWN_KEY") ?? { fix: "" };
    const known = /^write one of ([^;]*);/.exec(fix)?.[1]?.split(", ") ?? [];
    // What no sidecar can use is not offered.
    const offered = known.filter((key) => key !== "targetRef" && key !== "targetRefs");
    expect(offered.length).toBeGreaterThan(1);
    expect([...keys()].toSorted()).toEqual(offered.toSorted());
  });

  it("knows the keys of conditions that the loader knows", () => {
    const { fix } = errorsOf(rule({ when: [{ key: "zzz", values: ["a"] }] }))[0] ?? { fix: "" };
    const outbound =
      errorsOf(rule({ when: [{ key: "zzz", values: ["a"] }] }, OURS, { direction: "OUTBOUND" }))[0]?.fix ?? "";
    const known = new Set(
      [fix, outbound]
        .flatMap((text) => text.replace("use one of ", "").split(", "))
        .filter((key) => !key.includes("[")),
    );
    const whole = JSON.stringify(policyJsonSchema());
    const [, list = "[]"] = /"anyOf":\[\{"enum":(\[[^\]]*"source\.ip"[^\]]*\])/.exec(whole) ?? [];
    expect((JSON.parse(list) as string[]).toSorted()).toEqual([...known].toSorted());
  });
});

/** The keys of the mapping that a path of keys leads to, in one of the schema's kinds of documents. */
function keysAt(kind: number, ...path: readonly string[]): readonly string[] {
  interface Node {
    readonly properties?: Readonly<Record<string, Node>>;
    readonly items?: Node;
  }
  let node = (policyJsonSchema()["oneOf"] as readonly Node[])[kind];
  for (const key of path) {
    node = node?.properties?.[key];
    if (node?.items !== undefined) node = node.items;
  }
  return Object.keys(node?.properties ?? {});
}
