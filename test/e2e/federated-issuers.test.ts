import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { auditRecord } from "../support/audit-records.ts";
import { createTestCa, type TestIssued } from "../support/cert-factory.ts";
import {
  type CountersignProcesses,
  countersignProcesses,
  type SidecarProcess,
} from "../support/countersign-process.ts";
import { operations } from "../support/sidecar-pair.ts";

const uid = process.getuid?.() ?? 0;
let dir: string;
let processes: CountersignProcesses;
let cleanups: (() => unknown)[];
beforeEach(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), "countersign-federation-")));
  processes = countersignProcesses();
  cleanups = [];
});
afterEach(async () => {
  await processes.close();
  for (const cleanup of cleanups.reverse()) await cleanup();
  rmSync(dir, { recursive: true });
});

interface Domain {
  readonly name: "shop.test" | "bank.test";
  readonly app: "web" | "ledger";
}
const shop: Domain = { name: "shop.test", app: "web" };
const bank: Domain = { name: "bank.test", app: "ledger" };
const idOf = ({ name, app }: Domain): string => `spiffe://${name}/ns/main/sa/${app}`;

function writeIssuer(own: Domain, partner?: { readonly domain: Domain; readonly port: number }): string {
  const file = join(dir, `${own.name}.yaml`);
  const federates =
    partner === undefined
      ? ""
      : `federatesWith:
  ${partner.domain.name}:
    url: https://127.0.0.1:${partner.port}/bundle
    profile: https_spiffe
    endpointId: spiffe://${partner.domain.name}/issuer
    bootstrap: ${partner.domain.name}.json
`;
  writeFileSync(
    file,
    `trustDomain: ${own.name}
socket: unix://${dir}/${own.name}.sock
admin: unix://${dir}/${own.name}-admin.sock
state: ${own.name}-state
http: { bundleEndpoint: { listen: "127.0.0.1:0" } }
audit: { sinks: [{ file: { path: ${own.name}.jsonl } }] }
entries: [{ id: "${idOf(own)}", selectors: ["unix:uid:${uid}"] }]
${federates}`,
  );
  return file;
}

async function startIssuer(own: Domain): Promise<{ readonly issuer: SidecarProcess; readonly port: number }> {
  const issuer = processes.run(writeIssuer(own), ["issuer", "run"]);
  const port = await issuer.port("bundle-endpoint");
  await issuer.next("ready");
  const { stdout } = await processes.command(
    "issuer",
    "bundle",
    "-c",
    join(dir, `${own.name}.yaml`),
    "--format",
    "jwks",
  );
  writeFileSync(join(dir, `${own.name}.json`), stdout);
  return { issuer, port };
}

/** Waits until the issuer has its partner's bundle from the endpoint. */
async function fetched({ name }: Domain): Promise<void> {
  const since = async (): Promise<unknown> => {
    const { body } = await ask(join(dir, `${name}-admin.sock`), "/bundles");
    const { bundles } = JSON.parse(body) as { readonly bundles: readonly { readonly since?: string }[] };
    return bundles[0]?.since;
  };
  await expect.poll(since, { timeout: 15_000 }).toEqual(expect.any(String));
}

/** A sidecar that serves its own app, and leads to the partner's. Only GET may be called, and by the partner's app alone. */
async function startSidecar(own: Domain, partner: Domain, to = 9): Promise<SidecarProcess> {
  const app = await startApp((request, response) => response.end(String(request.headers["x-forwarded-client-cert"])));
  cleanups.push(() => app.close());
  writeFileSync(
    join(dir, `${own.app}-policies.yaml`),
    `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: partner, namespace: main }
spec:
  action: ALLOW
  rules:
    - from: [{ source: { principals: ["${idOf(partner).slice("spiffe://".length)}"] } }]
      to: [{ operation: { methods: [GET] } }]
`,
  );
  const file = join(dir, `${own.app}.yaml`);
  writeFileSync(
    file,
    `${operations(dir, own.app)}
workload: { namespace: main, labels: { app: ${own.app} } }
identity: { workloadApi: { address: "unix://${dir}/${own.name}.sock" } }
inbound:
  - { name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", protocol: http }
outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${to}"], identity: "${idOf(partner)}", protocol: http }
policies: [${own.app}-policies.yaml]
`,
  );
  const sidecar = processes.run(file);
  await sidecar.next("ready");
  return sidecar;
}

it("two issuers on one machine federate, and apps of both domains call each other by policy", async () => {
  const [shopIssuer, bankIssuer] = [await startIssuer(shop), await startIssuer(bank)];
  writeIssuer(shop, { domain: bank, port: bankIssuer.port });
  shopIssuer.issuer.signal("SIGHUP");
  await fetched(shop);
  writeIssuer(bank, { domain: shop, port: shopIssuer.port });
  bankIssuer.issuer.signal("SIGHUP");
  await fetched(bank);

  const listed = await processes.command("issuer", "bundle", "list", "-c", join(dir, "shop.test.yaml"), "--json");
  expect(JSON.parse(listed.stdout)).toMatchObject({
    bundles: [{ trustDomain: "bank.test", source: "endpoint", sequence: "1", x509Authorities: 1, jwtAuthorities: 1 }],
  });

  const ledger = await startSidecar(bank, shop);
  const web = await startSidecar(shop, bank, await ledger.port("in"));
  const port = await web.port("out");
  const allowed = await ask(port, "/accounts");
  expect(allowed.status).toBe(200);
  expect(allowed.body).toContain(`URI=${idOf(shop)}`);
  expect(await ask(port, "/accounts", { method: "DELETE" })).toMatchObject({ status: 403 });

  const back = processes.run(writeBack(await web.port("in")));
  await back.next("ready");
  const answer = await ask(await back.port("out"), "/carts");
  expect(answer).toMatchObject({ status: 200, body: expect.stringContaining(`URI=${idOf(bank)}`) as string });

  // A third domain that the bank trusts for itself can speak for itself, and for nobody else.
  const third = createTestCa("third.test");
  writeFileSync(join(dir, "third.pem"), third.bundlePem);
  const set = ["issuer", "bundle", "set", "third.test", join(dir, "third.pem"), "-c", join(dir, "bank.test.yaml")];
  expect(await processes.command(...set)).toMatchObject({ code: 0 });
  const inbound = await ledger.port("in");
  const asThird = (): Promise<unknown> => getOverTls(inbound, third.issue({ spiffeId: "spiffe://third.test/app" }));
  await expect.poll(asThird).toBe(403);
  expect(await getOverTls(inbound, third.issue({ spiffeId: idOf(shop) }))).toBe("refused");
  await auditRecord(join(dir, "ledger.jsonl"), ({ reason }) => reason === "E_CHAIN_UNTRUSTED");

  shopIssuer.issuer.signal("SIGTERM");
  await shopIssuer.issuer.ended;
  const records = readFileSync(join(dir, "shop.test.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(records).toContainEqual(
    expect.objectContaining({
      kind: "identity",
      decision: "allow",
      reason: "svid.issued.x509",
      selectors: [`unix:uid:${uid}`],
      source: expect.objectContaining({ spiffe_id: idOf(shop) }) as object,
    }),
  );
});

/** The status that a caller with this certificate gets, or that its connection is refused. */
function getOverTls(port: number, { chainPem, keyPem }: TestIssued): Promise<number | "refused"> {
  return new Promise((resolve) => {
    const options = {
      host: "127.0.0.1",
      port,
      path: "/accounts",
      cert: chainPem,
      key: keyPem,
      rejectUnauthorized: false,
    };
    const call = request({ ...options, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    call.on("error", () => resolve("refused"));
    call.end();
  });
}

/** Another sidecar of the bank's app, which calls the shop's. */
function writeBack(to: number): string {
  const file = join(dir, "back.yaml");
  writeFileSync(
    file,
    `${operations(dir, "back")}
workload: { namespace: main, labels: { app: ledger } }
identity: { workloadApi: { address: "unix://${dir}/bank.test.sock" } }
outbound:
  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${to}"], identity: "${idOf(shop)}", protocol: http }
`,
  );
  return file;
}
