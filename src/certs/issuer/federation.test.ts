import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask } from "../../../test/support/ask.ts";
import { bundleDocument, startBundleEndpoint, type TestBundleEndpoint } from "../../../test/support/bundle-endpoint.ts";
import { createTestCa, type TestCa } from "../../../test/support/cert-factory.ts";
import { type TestIssuer, testIssuer } from "../../../test/support/test-issuer.ts";
import type { JwtBundlesResponse, X509BundlesResponse, X509SvidResponse } from "../workload-api/proto.ts";
import type { BundleView } from "./admin-pages.ts";

const MINUTE = 60_000;
const endpointId = "spiffe://partner.test/issuer";
let issuer: TestIssuer;
let partner: TestCa;
let endpoint: TestBundleEndpoint;
beforeEach(async () => {
  issuer = testIssuer();
  partner = caOf("partner.test");
  endpoint = await startBundleEndpoint(partner.issue({ spiffeId: endpointId, ...life() }));
});
afterEach(async () => {
  await issuer.close();
  await endpoint.close();
});

const life = (): { notBefore: number; notAfter: number } => ({
  notBefore: issuer.clock.nowMs() - MINUTE,
  notAfter: issuer.clock.nowMs() + 1000 * MINUTE,
});
const caOf = (trustDomain: string): TestCa => createTestCa(trustDomain, { nowMs: issuer.clock.nowMs(), ...life() });
const entryOf = (name: string, uid: number, more = ""): string =>
  `{ id: spiffe://example.org/${name}, selectors: ["unix:uid:${uid}"]${more} }`;
function yaml(entries = entryOf("a", 1001)): string {
  writeFileSync(join(issuer.folder, "partner.pem"), partner.bundlePem);
  return `entries: [${entries}]
federatesWith:
  partner.test: { url: "${endpoint.url}", profile: https_spiffe, endpointId: "${endpointId}", bootstrap: partner.pem }`;
}
async function bundles(): Promise<readonly BundleView[]> {
  issuer.clock.advance(0); // a fetch at once waits for its turn
  const uid = issuer.uid;
  issuer.uid = process.geteuid?.() ?? 0;
  const { body } = await ask(join(issuer.folder, "admin"), "/bundles");
  issuer.uid = uid;
  return (JSON.parse(body) as { bundles: BundleView[] }).bundles;
}
async function nextX509(): Promise<X509SvidResponse> {
  const stream = (await issuer.client()).stream<X509SvidResponse>("FetchX509SVID");
  const message = await stream.next();
  stream.cancel();
  return message;
}
const name = "spiffe://partner.test";

describe("federated bundles", () => {
  it("are pushed to callers whose entries federate, for X.509 and JWT, and to no others", async () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwtKeys = [{ ...publicKey.export({ format: "jwk" }), use: "jwt-svid", kid: "k1" }];
    endpoint.serve(bundleDocument([partner], { spiffe_sequence: 5, jwtKeys }));
    const entries = [
      entryOf("all", 1001),
      entryOf("one", 1002, ", federatesWith: [partner.test]"),
      entryOf("none", 1003, ", federatesWith: []"),
    ];
    await issuer.start(yaml(entries.join(", ")));
    await expect.poll(async () => (await bundles())[0]?.sequence).toBe("5");
    for (const [uid, gets] of [
      [1001, true],
      [1002, true],
      [1003, false],
    ] as const) {
      issuer.uid = uid;
      // oxlint-disable-next-line no-await-in-loop -- the next caller is whoever `uid` says
      const client = await issuer.client();
      // oxlint-disable-next-line no-await-in-loop -- likewise
      const svids = await client.stream<X509SvidResponse>("FetchX509SVID").next();
      // oxlint-disable-next-line no-await-in-loop -- likewise
      const x509 = await client.stream<X509BundlesResponse>("FetchX509Bundles").next();
      // oxlint-disable-next-line no-await-in-loop -- likewise
      const jwt = await client.stream<JwtBundlesResponse>("FetchJWTBundles").next();
      const domains = gets ? ["spiffe://example.org", name] : ["spiffe://example.org"];
      expect(Object.keys(svids.federatedBundles)).toEqual(gets ? [name] : []);
      expect(Object.keys(x509.bundles)).toEqual(domains);
      expect(Object.keys(jwt.bundles)).toEqual(domains);
      if (!gets) continue;
      expect(Buffer.from(x509.bundles[name] ?? []).equals(partner.certificate.raw)).toBe(true);
      expect(Buffer.from(jwt.bundles[name] ?? []).toString()).toContain('"kid":"k1"');
    }
  });

  it("that change are pushed on open streams, and one that becomes empty is taken away", async () => {
    endpoint.serve(bundleDocument([partner], { spiffe_sequence: 1, spiffe_refresh_hint: 60 }));
    await issuer.start(yaml());
    await expect.poll(async () => (await bundles())[0]?.sequence).toBe("1");
    const stream = (await issuer.client()).stream<X509SvidResponse>("FetchX509SVID");
    expect(Object.keys((await stream.next()).federatedBundles)).toEqual([name]);
    const second = caOf("partner.test");
    endpoint.serve(bundleDocument([partner, second], { spiffe_sequence: 2, spiffe_refresh_hint: 60 }));
    issuer.clock.advance(MINUTE);
    const both = await stream.next();
    expect(both.federatedBundles[name]?.length).toBe(partner.certificate.raw.length + second.certificate.raw.length);
    endpoint.serve(bundleDocument([], { spiffe_sequence: 3, spiffe_refresh_hint: 60 }));
    issuer.clock.advance(MINUTE);
    expect((await stream.next()).federatedBundles).toEqual({});
  });

  it("of a partner that a reload removes are taken away", async () => {
    endpoint.serve(bundleDocument([partner]));
    const running = await issuer.start(yaml());
    const stream = (await issuer.client()).stream<X509SvidResponse>("FetchX509SVID");
    expect(Object.keys((await stream.next()).federatedBundles)).toEqual([name]);
    running.reload(issuer.config(`entries: [${entryOf("a", 1001)}]`));
    expect((await stream.next()).federatedBundles).toEqual({});
  });

  it("survive a restart without the endpoint", async () => {
    const second = caOf("partner.test");
    endpoint.serve(bundleDocument([partner, second], { spiffe_sequence: 2 }));
    const running = await issuer.start(yaml());
    await expect.poll(async () => (await bundles())[0]?.x509Authorities).toBe(2);
    await running.close();
    endpoint.answer = (_request, response) => void response.writeHead(503).end();
    await issuer.start(yaml());
    expect(await bundles()).toMatchObject([{ sequence: "2", x509Authorities: 2 }]);
  });
});

describe("an attack on federation leaves the old bundle in use, and its age and the reason are seen:", () => {
  const mebibyte = (count: number): void => {
    endpoint.answer = (_request, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.on("error", () => undefined);
      const chunk = Buffer.alloc(1024 * 1024, " ");
      let left = count;
      const more = (): void => {
        while (left-- > 0) if (!response.write(chunk)) return void response.once("drain", more);
        response.end(bundleDocument([partner, caOf("partner.test")], { spiffe_sequence: 9 }));
      };
      more();
    };
  };
  it.each<[string, () => void, string]>([
    [
      "a lower sequence",
      () => endpoint.serve(bundleDocument([caOf("partner.test")], { spiffe_sequence: 4 })),
      "E_FEDERATION_SEQUENCE",
    ],
    ["no sequence", () => endpoint.serve(bundleDocument([caOf("partner.test")])), "E_FEDERATION_SEQUENCE"],
    [
      "another SPIFFE ID",
      () => endpoint.present(partner.issue({ spiffeId: "spiffe://partner.test/other", ...life() })),
      "E_FEDERATION_IDENTITY",
    ],
    [
      "another CA in its name",
      () => endpoint.present(caOf("partner.test").issue({ spiffeId: endpointId, ...life() })),
      "E_FEDERATION_IDENTITY",
    ],
    [
      "a CA of another domain in its name",
      () => endpoint.present(caOf("example.org").issue({ spiffeId: endpointId, ...life() })),
      "E_FEDERATION_IDENTITY",
    ],
    [
      "a redirect",
      () => {
        endpoint.answer = (_request, response) => void response.writeHead(302, { location: endpoint.url }).end();
      },
      "E_FEDERATION_ANSWER",
    ],
    ["something else than a bundle", () => endpoint.serve("<html>"), "E_BUNDLE_FORMAT"],
    ["a bundle of 1 MiB", () => mebibyte(1), "E_FEDERATION_TOO_LARGE"],
    ["a bundle of 100 MiB", () => mebibyte(100), "E_FEDERATION_TOO_LARGE"],
  ])("%s", async (_name, attack, code) => {
    endpoint.serve(bundleDocument([partner], { spiffe_sequence: 5, spiffe_refresh_hint: 60 }));
    await issuer.start(yaml());
    await expect.poll(async () => (await bundles())[0]?.sequence).toBe("5");
    attack();
    issuer.clock.advance(MINUTE);
    await expect.poll(async () => (await bundles())[0]?.problem?.code, { timeout: 10_000 }).toBe(code);
    expect(await bundles()).toMatchObject([
      { sequence: "5", x509Authorities: 1, ageSeconds: 60, since: expect.any(String) as string },
    ]);
    const { federatedBundles } = await nextX509();
    expect(Buffer.from(federatedBundles[name] ?? []).equals(partner.certificate.raw)).toBe(true);
  });
});

describe("a bundle set by hand", () => {
  const admin = async (method: string, path: string, body = ""): Promise<{ status: number; text: string }> => {
    issuer.uid = process.geteuid?.() ?? 0;
    const { Client } = await import("undici");
    const client = new Client("http://localhost", { socketPath: join(issuer.folder, "admin") });
    const response = await client.request({ method: method as "PUT", path, ...(body === "" ? {} : { body }) });
    const text = await response.body.text();
    await client.close();
    issuer.uid = 1001;
    return { status: response.statusCode, text };
  };

  it("is handed out, is there after a restart, and can be removed", async () => {
    const other = caOf("hand.test");
    const running = await issuer.start(`entries: [${entryOf("a", 1001)}]`);
    expect(await admin("PUT", "/bundles/hand.test", other.bundlePem)).toMatchObject({ status: 200 });
    expect(Object.keys((await nextX509()).federatedBundles)).toEqual(["spiffe://hand.test"]);
    await running.close();
    await issuer.start(`entries: [${entryOf("a", 1001)}]`);
    issuer.clock.advance(5000);
    expect(await bundles()).toMatchObject([{ trustDomain: "hand.test", source: "set", ageSeconds: 5 }]);
    expect(JSON.parse((await admin("GET", "/bundles/hand.test")).text)).toEqual({ document: other.bundlePem });
    expect(await admin("DELETE", "/bundles/hand.test")).toMatchObject({ status: 200 });
    expect((await nextX509()).federatedBundles).toEqual({});
    expect(issuer.records.map(({ reason }) => reason)).toEqual(
      expect.arrayContaining(["bundle.set", "bundle.removed"]),
    );
  });

  it.each([
    ["of the issuer's own domain", "PUT", "/bundles/example.org", "x", "E_ISSUER_BUNDLE"],
    ["of a domain whose endpoint is followed", "PUT", "/bundles/partner.test", "x", "E_ISSUER_BUNDLE"],
    ["of no trust domain", "PUT", "/bundles/Hand.test", "x", "E_TRUST_DOMAIN"],
    ["that is none", "PUT", "/bundles/hand.test", "{}", "E_BUNDLE_FORMAT"],
    ["that is no PEM", "PUT", "/bundles/hand.test", "x", "E_PEM"],
    ["that was never set", "DELETE", "/bundles/hand.test", "", "E_ISSUER_BUNDLE"],
    ["that nobody knows", "GET", "/bundles/hand.test", "", "E_ISSUER_BUNDLE"],
  ])("%s is refused", async (_name, method, path, body, code) => {
    endpoint.serve(bundleDocument([partner]));
    await issuer.start(yaml());
    const { status, text } = await admin(method, path, body);
    expect({ status, code: (JSON.parse(text) as { error: { code: string } }).error.code }).toEqual({
      status: 400,
      code,
    });
  });

  it("in a state file that is damaged stops the start", async () => {
    mkdirSync(join(issuer.folder, "state"), { mode: 0o700 });
    writeFileSync(join(issuer.folder, "state", "set-bundles.json"), "[{}]", { mode: 0o600 });
    await expect(issuer.start("entries: []")).rejects.toThrow(
      expect.objectContaining({ code: "E_ISSUER_STATE" }) as Error,
    );
  });
});
