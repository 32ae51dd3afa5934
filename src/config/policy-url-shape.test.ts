import { describe, expect, it } from "vitest";
import { CountersignErrors, formatError } from "../core/errors.ts";
import { parseSidecarConfig } from "./load-sidecar-config.ts";

const load = (policies: string) =>
  parseSidecarConfig(`workload: { namespace: shop }\npolicies: ${policies}\n`, "/etc/countersign/c.yaml", {
    SPIFFE_ENDPOINT_SOCKET: "unix:///run/agent.sock",
  }).config;

function problem(policies: string): string {
  try {
    load(policies);
  } catch (error) {
    if (error instanceof CountersignErrors) return error.errors.map(formatError).join("\n");
    throw error;
  }
  return "none";
}

describe("policies at a URL", () => {
  it("have defaults, beside paths", () => {
    const { policies, policyUrls } = load("[own/, https://policies.example.org/shop/orders.yaml]");
    expect(policies.map(({ path }) => path)).toEqual(["/etc/countersign/own"]);
    expect(policyUrls).toEqual([
      {
        url: "https://policies.example.org/shop/orders.yaml",
        publicKey: undefined,
        name: "orders.yaml",
        ca: undefined,
        refreshMs: 30_000,
        maxAgeMs: 86_400_000,
        cache: "/etc/countersign/policies-cache",
        at: { file: "/etc/countersign/c.yaml", line: 2, column: 18 },
      },
    ]);
  });

  it("may be signed, and then come by http", () => {
    const item =
      "{ url: 'http://p/x', publicKey: p.pub, name: orders, refresh: 5s, maxAge: 1h, cache: /var/p, ca: ca.pem }";
    expect(load(`[${item}]`).policyUrls[0]).toMatchObject({
      url: "http://p/x",
      publicKey: "/etc/countersign/p.pub",
      name: "orders",
      refreshMs: 5000,
      maxAgeMs: 3_600_000,
      cache: "/var/p",
      ca: "/etc/countersign/ca.pem",
    });
  });

  it.each([
    ["[http://p/x]", "names an http URL without a signature"],
    ["[ftp://p/x]", "names no https or http URL"],
    ["['https://']", "names no https or http URL"],
    ["['https://me:hunter2@p/x']", "has a user or password in its URL"],
    ["['https://p/x?token=hunter2']", "has a ? or # in its URL"],
    ["[{ url: 'https://p/', publicKey: k }]", "has no name to verify the signature for"],
    ["[{ url: 'https://p/x', refresh: 10ms }]", "out of range"],
    ["[{ url: 'https://p/x', public: k }]", "E_CONFIG_KEY"],
    ["[{ publicKey: k }]", "E_CONFIG_MISSING"],
  ])("%s is refused", (policies, why) => {
    const found = problem(policies);
    expect(found).toContain(why);
    expect(found).not.toContain("hunter2");
  });
});
