import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { type Egress, startEgress } from "../support/egress.ts";
import { rawClient } from "../support/raw-client.ts";

const policy = (name: string, action: string, rules: string): string => `---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec: { direction: OUTBOUND, action: ${action}, rules: ${rules} }
`;

let app: TestApp;
let egress: Egress;
beforeEach(async () => {
  app = await startApp((request, response) => response.end(`got ${request.url}`));
  egress = await startEgress({
    forward: `addresses: [127.0.0.0/8], ports: [${app.port}]`,
    policies:
      policy("open", "ALLOW", "[{}]") + policy("deny", "DENY", '[{ to: [{ operation: { paths: ["/admin/*"] } }] }]'),
    names: { "api.test": ["127.0.0.1"] },
    more: "authorization: { mode: strict }",
  });
});
afterEach(async () => {
  await egress.close();
  await app.close();
});

describe("a request through the egress proxy", () => {
  it.each([
    ["/admin/users", "403", "E_POLICY_DENIED_BY_RULE"],
    ["/admin;x/users", "400", "E_PATH_AMBIGUOUS"],
    ["/admin;\\users", "400", "E_PATH_AMBIGUOUS"],
    ["/admin;x=1\\users", "400", "E_PATH_AMBIGUOUS"],
    ["/x/..%252fadmin/users", "400", "E_PATH_AMBIGUOUS"],
    ["/x/..%25%32fadmin/users", "400", "E_PATH_AMBIGUOUS"],
    ["/public;x=1\\users", "200", ""],
  ])(
    "whose destination may read a denied path in it is refused, others go as they came: %s",
    async (path, status, code) => {
      const client = await rawClient(egress.port);
      client.send(`GET http://api.test:${app.port}${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      const text = await client.closed();
      expect(text).toContain(`HTTP/1.1 ${status} `);
      expect(text).toContain(code === "" ? `got ${path}` : `x-countersign-code: ${code}\r\n`);
    },
  );
});
