import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ask } from "../support/ask.ts";
import { bundleDocument } from "../support/bundle-endpoint.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { countersignProcesses } from "../support/countersign-process.ts";
import { buildGoClient, startGoServer } from "./go-client.ts";
import { runClient } from "./issuer-process.ts";

const GO = "spiffe://example.org/ns/shop/sa/go";

it("go-spiffe and the issuer fetch each other's bundles, over https_spiffe and https_web", async (test) => {
  const { folder, client } = buildGoClient(test);
  const processes = countersignProcesses();
  test.onTestFinished(() => processes.close());
  const web = createTestCa("web.test");
  const { chainPem, keyPem } = web.issue({ dnsSans: ["localhost"] });
  writeFileSync(join(folder, "web-root.pem"), web.bundlePem);
  writeFileSync(join(folder, "web.pem"), chainPem);
  writeFileSync(join(folder, "web.key"), keyPem, { mode: 0o600 });
  const yaml = (more: string): string => {
    const file = join(folder, "issuer.yaml");
    const text = `trustDomain: example.org
socket: unix://${folder}/s
admin: unix://${folder}/admin
state: state
audit: { sinks: [{ file: { path: audit.jsonl } }] }
http: { listen: "127.0.0.1:0", tls: { certificate: web.pem, key: web.key }, bundleEndpoint: { listen: "127.0.0.1:0" } }
entries: [{ id: ${GO}, selectors: ["unix:uid:${process.getuid?.()}"] }]
${more}`;
    writeFileSync(file, text);
    return file;
  };
  const issuer = processes.run(yaml(""), ["issuer", "run"]);
  await issuer.next("ready");
  const address = `unix://${folder}/s`;
  const { stdout } = await processes.command("issuer", "bundle", "-c", join(folder, "issuer.yaml"), "--format", "jwks");
  writeFileSync(join(folder, "own.json"), stdout);

  const expected = { sequence: 1, refresh: 300, x509: 1, jwt: 1 };
  const bySvid = `https://127.0.0.1:${await issuer.port("bundle-endpoint")}/bundle`;
  const fetchBySvid = ["fetch-bundle", bySvid, join(folder, "own.json"), "spiffe://example.org/issuer"];
  expect((await runClient(client, fetchBySvid, address)).get("bundle")).toMatchObject(expected);
  const byWeb = `https://localhost:${await issuer.port("http")}/bundle`;
  const fetchByWeb = ["fetch-bundle", byWeb, join(folder, "web-root.pem")];
  expect((await runClient(client, fetchByWeb, address)).get("bundle")).toMatchObject(expected);
  const asSomebodyElse = ["fetch-bundle", bySvid, join(folder, "own.json"), GO];
  await expect(runClient(client, asSomebodyElse, address)).rejects.toThrow("unexpected ID");

  const partner = createTestCa("partner.test");
  writeFileSync(join(folder, "partner.json"), bundleDocument([partner], { spiffe_sequence: 7 }));
  const endpoint = await startGoServer(client, ["serve-bundle", "partner.test", join(folder, "partner.json")], address);
  test.onTestFinished(() => endpoint.stop());
  // Its endpoint's identity is of the issuer's own trust domain, so nothing has to be brought over first.
  yaml(
    `federatesWith: { partner.test: { url: "https://${endpoint.address}/", profile: https_spiffe, endpointId: "${GO}" } }`,
  );
  issuer.signal("SIGHUP");
  const bundles = async (): Promise<unknown> =>
    (JSON.parse((await ask(join(folder, "admin"), "/bundles")).body) as { readonly bundles: unknown }).bundles;
  await expect
    .poll(bundles, { timeout: 20_000 })
    .toMatchObject([{ trustDomain: "partner.test", sequence: "7", x509Authorities: 1, source: "endpoint" }]);
});
