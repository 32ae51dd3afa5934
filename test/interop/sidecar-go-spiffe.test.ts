import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { countersignProcesses } from "../support/countersign-process.ts";
import { operations } from "../support/sidecar-pair.ts";
import { buildGoClient, startGoServer } from "./go-client.ts";
import { runClient, startIssuerProcess } from "./issuer-process.ts";

const SIDECAR = "spiffe://example.org/ns/shop/sa/sidecar";
const GO = "spiffe://example.org/ns/shop/sa/go";
const OTHER = "spiffe://example.org/ns/shop/sa/other";

const policies = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: go, namespace: shop }
spec:
  action: ALLOW
  rules:
    - from: [{ source: { principals: [example.org/ns/shop/sa/go] } }]
      to: [{ operation: { paths: [/orders] } }]
`;

it("a go-spiffe program and a sidecar call each other over mTLS, while SVIDs rotate", async (test) => {
  const { folder, client } = buildGoClient(test);
  const uid = process.getuid?.();
  const entry = (id: string, path: string): string =>
    `{ id: ${id}, selectors: ["unix:uid:${uid}", "unix:path:${path}"] }`;
  const issuer = await startIssuerProcess(folder, `[${entry(GO, client)}, ${entry(SIDECAR, process.execPath)}]`);
  test.onTestFinished(async () => void (await issuer.stop()));
  const app = await startApp((request, response) => response.end(String(request.headers["x-forwarded-client-cert"])));
  test.onTestFinished(() => app.close());
  const processes = countersignProcesses();
  test.onTestFinished(() => processes.close());

  const goServer = await startGoServer(client, ["serve", SIDECAR], issuer.address);
  test.onTestFinished(() => goServer.stop());
  writeFileSync(join(folder, "policies.yaml"), policies);
  const file = join(folder, "sidecar.yaml");
  writeFileSync(
    file,
    `${operations(folder, "sidecar")}
workload: { namespace: shop }
identity: { workloadApi: { address: "${issuer.address}" } }
inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }]
outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["${goServer.address}"], identity: "${GO}", protocol: http }
  - { name: impostor, listen: "127.0.0.1:0", to: ["${goServer.address}"], identity: "${OTHER}", protocol: http }
policies: [policies.yaml]
`,
  );
  const sidecar = processes.run(file);
  await sidecar.next("ready");

  const [out, impostor] = [await sidecar.port("out"), await sidecar.port("impostor")];
  for (let rotation = 0; rotation < 3; rotation++) {
    expect(await ask(out, "/stock")).toMatchObject({ status: 200, body: `${SIDECAR} /stock` });
    await sidecar.next("identity.rotated");
  }
  const refused = await ask(impostor, "/stock");
  expect(refused.headers["x-countersign-code"]).toBe("E_PEER_WRONG_IDENTITY");

  const url = `https://127.0.0.1:${await sidecar.port("in")}`;
  const calls = await runClient(client, ["call", SIDECAR, `${url}/orders`, `${url}/admin`], issuer.address);
  expect(calls.get("call-0")).toMatchObject({ status: 200, body: expect.stringContaining(`URI=${GO}`) as string });
  expect(calls.get("call-1")).toMatchObject({ status: 403 });
  const wrong = await runClient(client, ["call", OTHER, `${url}/orders`], issuer.address);
  expect(String(wrong.get("call-0")?.["error"])).toContain("unexpected ID");
});
