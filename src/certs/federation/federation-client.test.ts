import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bundleDocument, startBundleEndpoint, type TestBundleEndpoint } from "../../../test/support/bundle-endpoint.ts";
import { type CertOptions, createTestCa, type TestCa } from "../../../test/support/cert-factory.ts";
import { tlv } from "../../../test/support/der-writer.ts";
import { eventually } from "../../../test/support/eventually.ts";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import type { FederationPartner } from "../../core/federation.ts";
import type { FederatedBundleStatus } from "../../core/identity.ts";
import { parseSpiffeId, parseTrustDomain } from "../../core/spiffe-id.ts";
import type { IdentityLogEntry } from "../identity-log.ts";
import { createFederationClient, type FederationClient, type FederationClientOptions } from "./federation-client.ts";

const partnerDomain = parseTrustDomain("partner.org");
const ENDPOINT_ID = parseSpiffeId("spiffe://partner.org/bundle-endpoint");
// Web certificates are checked by Node, by the real time.
const startMs = Math.floor(Date.now() / 1000) * 1000;

let clock: FakeClock;
let dir: string;
let partner: TestCa;
let endpoint: TestBundleEndpoint;
let log: IdentityLogEntry[] = [];
const clients: FederationClient[] = [];

beforeEach(async () => {
  clock = fakeClock(startMs);
  dir = mkdtempSync(join(tmpdir(), "countersign-federation-"));
  partner = createTestCa("partner.org", { nowMs: startMs, commonName: "first" });
  writeFileSync(join(dir, "bootstrap.pem"), partner.bundlePem);
  endpoint = await startBundleEndpoint(partner.issue({ spiffeId: ENDPOINT_ID }));
  endpoint.serve(bundleDocument([partner], { spiffe_sequence: 5, spiffe_refresh_hint: 60 }));
  log = [];
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await endpoint.close();
  rmSync(dir, { recursive: true, force: true });
});

const spiffe = (rest: Partial<FederationPartner> = {}): FederationPartner => ({
  trustDomain: partnerDomain,
  url: endpoint.url,
  profile: { kind: "https_spiffe", endpointId: ENDPOINT_ID },
  bootstrap: join(dir, "bootstrap.pem"),
  ...rest,
});

function follow(
  partners: readonly FederationPartner[] = [spiffe()],
  options: Partial<FederationClientOptions> = {},
): FederationClient {
  const client = createFederationClient({
    partners,
    stateFolder: join(dir, "state"),
    clock,
    log: (entry) => log.push(entry),
    ...options,
  });
  clients.push(client);
  return client;
}

const statusOf = (client: FederationClient): FederatedBundleStatus => {
  const [status] = client.status;
  if (status === undefined) throw new TypeError("no partner");
  return status;
};

/** Moves time to the next fetch and waits until its end, which arms the one after it. */
async function fetchNow(client: FederationClient): Promise<FederatedBundleStatus> {
  const due = statusOf(client).nextFetchMs;
  clock.advance(due - clock.nowMs());
  await eventually(() => expect(statusOf(client).nextFetchMs).not.toBe(due));
  return statusOf(client);
}
const rootsOf = (client: FederationClient): string[] | undefined =>
  client.bundles.get(partnerDomain)?.trustBundle.authorities.map(({ subject }) => subject.split("\n").at(-1) ?? "");

describe("a bundle is fetched", () => {
  test("over https_spiffe, and again when its refresh hint says", async () => {
    const client = follow();
    expect(rootsOf(client)).toEqual(["CN=first"]);
    expect(statusOf(client)).toMatchObject({ fetchedAtMs: undefined, sequence: undefined, problem: undefined });
    expect(await fetchNow(client)).toMatchObject({
      fetchedAtMs: startMs,
      sequence: 5n,
      nextFetchMs: startMs + 60_000,
      problem: undefined,
    });
    const second = createTestCa("partner.org", { nowMs: startMs, commonName: "second" });
    endpoint.serve(bundleDocument([partner, second], { spiffe_sequence: 6 }));
    let changes = 0;
    client.subscribe(() => changes++);
    expect(await fetchNow(client)).toMatchObject({ sequence: 6n, nextFetchMs: startMs + 60_000 + 300_000 });
    expect(rootsOf(client)).toEqual(["CN=first", "CN=second"]);
    expect(changes).toBe(1);
    await fetchNow(client);
    expect(changes).toBe(1);
  });

  test("with its JWT keys", async () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    endpoint.serve(
      bundleDocument([partner], { jwtKeys: [{ ...publicKey.export({ format: "jwk" }), use: "jwt-svid", kid: "k" }] }),
    );
    const client = follow();
    await fetchNow(client);
    expect(client.bundles.get(partnerDomain)?.jwtBundle.keys.map(({ keyId }) => keyId)).toEqual(["k"]);
  });

  test("over https_web, by the host's certificate alone", async () => {
    const web = createTestCa("web.test", { nowMs: startMs, spiffeId: undefined, commonName: "web root" });
    endpoint.present(web.issue(hostCertificate("127.0.0.1")));
    const roots = join(dir, "roots.pem");
    writeFileSync(roots, web.bundlePem);
    const client = follow([spiffe({ profile: { kind: "https_web", roots }, bootstrap: undefined })]);
    expect(client.bundles.size).toBe(0);
    expect(await fetchNow(client)).toMatchObject({ sequence: 5n, problem: undefined });
    expect(rootsOf(client)).toEqual(["CN=first"]);
  });

  test("from an endpoint of another trust domain whose bundle is known", async () => {
    const own = createTestCa("example.org", { nowMs: startMs });
    endpoint.present(own.issue({ spiffeId: "spiffe://example.org/proxy" }));
    const profile = { kind: "https_spiffe", endpointId: parseSpiffeId("spiffe://example.org/proxy") } as const;
    const client = follow([spiffe({ profile, bootstrap: undefined })], {
      bundleOf: (domain) => (domain === "example.org" ? own.trustBundle() : undefined),
    });
    expect(await fetchNow(client)).toMatchObject({ sequence: 5n, problem: undefined });
  });

  test("and one without keys is revocation, not failure", async () => {
    const client = follow();
    await fetchNow(client);
    endpoint.serve(JSON.stringify({ keys: [], spiffe_sequence: 6 }));
    expect(await fetchNow(client)).toMatchObject({ problem: undefined, sequence: 6n });
    expect(client.bundles.get(partnerDomain)?.trustBundle.authorities).toEqual([]);
    expect(log.at(-1)).toMatchObject({ event: "federation.updated", fields: { authorities: 0 } });
  });
});

/** A leaf that a web client takes for this address. */
function hostCertificate(address: string): CertOptions {
  const ip = tlv(0x87, Buffer.from(address.split(".").map(Number)));
  return { spiffeId: undefined, extraExtensions: [{ oid: "2.5.29.17", value: tlv(0x30, ip) }] };
}

describe("nothing is accepted, the old bundle stays and its age is seen", () => {
  const MIB = 1024 * 1024;
  const padded = (size: number, document = evil(9)): string => {
    return document.replace("{", `{${" ".repeat(size - document.length)}`);
  };
  const evil = (sequence?: number): string =>
    bundleDocument(
      [createTestCa("partner.org", { commonName: "evil" })],
      sequence === undefined ? {} : { spiffe_sequence: sequence },
    );

  test.each<[string, string, () => void]>([
    ["a lower sequence", "E_FEDERATION_SEQUENCE", () => endpoint.serve(evil(4))],
    ["a document that has lost its sequence", "E_FEDERATION_SEQUENCE", () => endpoint.serve(evil())],
    [
      "an endpoint with another SPIFFE ID",
      "E_FEDERATION_IDENTITY",
      () => endpoint.present(partner.issue({ spiffeId: "spiffe://partner.org/other" })),
    ],
    [
      "an endpoint whose ID only begins like it",
      "E_FEDERATION_IDENTITY",
      () => endpoint.present(partner.issue({ spiffeId: `${ENDPOINT_ID}2` })),
    ],
    [
      "another CA that names the endpoint's ID",
      "E_FEDERATION_IDENTITY",
      () =>
        endpoint.present(
          createTestCa("partner.org", { nowMs: startMs, commonName: "stranger" }).issue({ spiffeId: ENDPOINT_ID }),
        ),
    ],
    [
      "an endpoint with an expired SVID",
      "E_FEDERATION_IDENTITY",
      () => endpoint.present(partner.issue({ spiffeId: ENDPOINT_ID, notAfter: startMs + 30_000 })),
    ],
    [
      "an endpoint with a web certificate",
      "E_FEDERATION_IDENTITY",
      () => endpoint.present(partner.issue(hostCertificate("127.0.0.1"))),
    ],
    ["a document of 1 MiB and a byte", "E_FEDERATION_TOO_LARGE", () => endpoint.serve(padded(MIB + 1))],
    ["a redirect to a good document", "E_FEDERATION_ANSWER", () => redirect(302)],
    ["a permanent redirect", "E_FEDERATION_ANSWER", () => redirect(308)],
    ["status 404", "E_FEDERATION_ANSWER", () => respond(404, evil(9))],
    ["status 203 of something between", "E_FEDERATION_ANSWER", () => respond(203, evil(9))],
    ["status 204", "E_FEDERATION_ANSWER", () => respond(204, "")],
    [
      "a compressed document",
      "E_FEDERATION_ANSWER",
      () => {
        endpoint.answer = (_request, response) =>
          void response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(evil(9)));
      },
    ],
    ["a web page", "E_BUNDLE_FORMAT", () => respond(200, "<html>")],
    ["an empty answer", "E_BUNDLE_FORMAT", () => respond(200, "")],
    ["half a document", "E_BUNDLE_FORMAT", () => respond(200, evil(9).slice(0, -20))],
    ["keys twice", "E_BUNDLE_FORMAT", () => respond(200, evil(9).replace("{", '{"keys":[],'))],
    ["a sequence twice", "E_BUNDLE_FORMAT", () => respond(200, evil(9).replace("{", '{"spiffe_sequence":1,'))],
    [
      "a sequence of more than 64 bits",
      "E_BUNDLE_FORMAT",
      () => respond(200, '{"spiffe_sequence":18446744073709551616,"keys":[]}'),
    ],
    ["a negative sequence", "E_BUNDLE_FORMAT", () => respond(200, '{"spiffe_sequence":-1,"keys":[]}')],
    ["a sequence that is a text", "E_BUNDLE_FORMAT", () => respond(200, '{"spiffe_sequence":"9","keys":[]}')],
    [
      "a refresh hint that is a text",
      "E_BUNDLE_FORMAT",
      () => respond(200, '{"spiffe_sequence":9,"spiffe_refresh_hint":"60","keys":[]}'),
    ],
    ["an x5c that is no base64", "E_BUNDLE_FORMAT", () => respond(200, evil(9).replace(/"x5c":\["/, '"x5c":["*'))],
    [
      "an x5c that is no certificate",
      "E_BUNDLE_FORMAT",
      () => respond(200, evil(9).replace(/"x5c":\["[^"]*/, '"x5c":["AAAA')),
    ],
    ["keys that are an object", "E_BUNDLE_FORMAT", () => respond(200, '{"spiffe_sequence":9,"keys":{}}')],
    [
      "two JWT keys with one kid",
      "E_BUNDLE_FORMAT",
      () => {
        const jwk = (): object => ({
          ...generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" }),
          use: "jwt-svid",
          kid: "a",
        });
        respond(200, bundleDocument([partner], { spiffe_sequence: 9, jwtKeys: [jwk(), jwk()] }));
      },
    ],
    [
      "an answer that breaks off",
      "E_FEDERATION_UNREACHABLE",
      () => {
        endpoint.answer = (_request, response) => {
          response.writeHead(200, { "content-length": "100000" });
          response.write("{");
          response.socket?.destroy();
        };
      },
    ],
  ])("%s: %s", async (_what, code, change) => {
    const client = follow();
    await fetchNow(client);
    change();
    expect(await fetchNow(client)).toMatchObject({
      problem: { code },
      sequence: 5n,
      fetchedAtMs: startMs,
      nextFetchMs: startMs + 65_000,
    });
    expect(rootsOf(client)).toEqual(["CN=first"]);
    expect(log.at(-1)).toMatchObject({ event: "federation.problem", fields: { code } });
    expect(readFileSync(join(dir, "state", "federated-partner.org.json"), "utf8")).not.toContain("evil");
  });

  test("a document of exactly 1 MiB is read, one of 100 MiB is not even received", async () => {
    const client = follow();
    endpoint.serve(padded(MIB, bundleDocument([partner], { spiffe_sequence: 9 })));
    expect(await fetchNow(client)).toMatchObject({ problem: undefined, sequence: 9n });
    let sent = 0;
    endpoint.answer = (_request, response) => {
      response.writeHead(200);
      const chunk = Buffer.alloc(64 * 1024, 0x20);
      const pump = (): void => {
        while (sent < 100 * MIB) {
          sent += chunk.length;
          if (!response.write(chunk)) return void response.once("drain", pump);
        }
        response.end();
      };
      response.on("error", () => undefined);
      pump();
    };
    expect(await fetchNow(client)).toMatchObject({ problem: { code: "E_FEDERATION_TOO_LARGE" }, sequence: 9n });
    expect(sent).toBeLessThan(20 * MIB);
  });

  test("an endpoint that nobody serves, and one that is silent for 30 s", async () => {
    const client = follow();
    await fetchNow(client);
    endpoint.answer = () => undefined;
    const due = statusOf(client).nextFetchMs;
    const before = endpoint.requests;
    clock.advance(due - clock.nowMs());
    await eventually(() => expect(endpoint.requests).toBeGreaterThan(before));
    clock.advance(29_999);
    expect(statusOf(client).problem).toBeUndefined();
    clock.advance(1);
    await eventually(() => expect(statusOf(client).problem).toBeDefined());
    expect(statusOf(client)).toMatchObject({ problem: { code: "E_FEDERATION_UNREACHABLE" }, sequence: 5n });
    await endpoint.close();
    expect(await fetchNow(client)).toMatchObject({ problem: { message: expect.stringContaining("ECONNREFUSED") } });
  });

  test("a web certificate of another host, and of an unknown root", async () => {
    const web = createTestCa("web.test", { nowMs: startMs, spiffeId: undefined });
    const roots = join(dir, "roots.pem");
    writeFileSync(roots, web.bundlePem);
    const profile = { kind: "https_web", roots } as const;
    endpoint.present(web.issue(hostCertificate("127.0.0.2")));
    const client = follow([spiffe({ profile, bootstrap: undefined })]);
    expect(await fetchNow(client)).toMatchObject({ problem: { code: "E_FEDERATION_TLS" } });
    endpoint.present(
      createTestCa("web.test", { nowMs: startMs, spiffeId: undefined, commonName: "x" }).issue(
        hostCertificate("127.0.0.1"),
      ),
    );
    expect(await fetchNow(client)).toMatchObject({ problem: { code: "E_FEDERATION_TLS" } });
    expect(client.bundles.size).toBe(0);
    expect(endpoint.requests).toBe(0);
  });

  test("without a bundle to verify the endpoint with it is not even called", async () => {
    const client = follow([spiffe({ bootstrap: undefined })]);
    expect(await fetchNow(client)).toMatchObject({ problem: { code: "E_FEDERATION_BOOTSTRAP" } });
    expect(endpoint.requests).toBe(0);
  });

  function respond(status: number, body: string): void {
    endpoint.answer = (_request, response) => void response.writeHead(status).end(body);
  }
  function redirect(status: number): void {
    endpoint.answer = (request, response) => {
      if (request.url === "/bundle") response.writeHead(status, { location: "/elsewhere" }).end();
      else response.writeHead(200).end(evil(9));
    };
  }
});

test("failures are retried after 5, 10, 20 … s, never later than the refresh hint, and success starts over", async () => {
  const client = follow();
  await fetchNow(client);
  endpoint.answer = (_request, response) => void response.writeHead(500).end();
  const waits: number[] = [];
  for (let i = 0; i < 6; i++) {
    // oxlint-disable-next-line no-await-in-loop -- one fetch after the other
    const { nextFetchMs } = await fetchNow(client);
    waits.push(nextFetchMs - clock.nowMs());
  }
  expect(waits).toEqual([5000, 10_000, 20_000, 40_000, 60_000, 60_000]);
  expect(log.filter(({ event }) => event === "federation.problem")).toHaveLength(1);
  endpoint.serve(bundleDocument([partner], { spiffe_sequence: 5, spiffe_refresh_hint: 60 }));
  expect((await fetchNow(client)).nextFetchMs - clock.nowMs()).toBe(60_000);
});

describe("the last good bundle", () => {
  test("outlives a restart, with its sequence and its age, in a file of the owner's alone", async () => {
    const first = follow();
    await fetchNow(first);
    first.close();
    const file = join(dir, "state", "federated-partner.org.json");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, "state")).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(dir, "state"))).toEqual(["federated-partner.org.json"]);
    endpoint.serve(bundleDocument([createTestCa("partner.org", { commonName: "evil" })], { spiffe_sequence: 4 }));
    const again = follow();
    expect(statusOf(again)).toMatchObject({ fetchedAtMs: startMs, sequence: 5n });
    expect(rootsOf(again)).toEqual(["CN=first"]);
    expect(await fetchNow(again)).toMatchObject({ problem: { code: "E_FEDERATION_SEQUENCE" }, sequence: 5n });
  });

  test("gives way to another bootstrap bundle than the one it began with", async () => {
    const first = follow();
    await fetchNow(first);
    first.close();
    const renewed = createTestCa("partner.org", { nowMs: startMs, commonName: "renewed" });
    writeFileSync(join(dir, "bootstrap.pem"), renewed.bundlePem);
    endpoint.present(renewed.issue({ spiffeId: ENDPOINT_ID }));
    endpoint.serve(bundleDocument([renewed], { spiffe_sequence: 1 }));
    const again = follow();
    expect(rootsOf(again)).toEqual(["CN=renewed"]);
    expect(await fetchNow(again)).toMatchObject({ problem: undefined, sequence: 1n });
  });

  test.each([
    ["not JSON"],
    ["{}"],
    [JSON.stringify({ trustDomain: "other.org", fetchedAt: "2030-01-01", bootstrapHash: "", document: "{}" })],
  ])("that is damaged is said and passed over: %s", async (text) => {
    const first = follow();
    await fetchNow(first);
    first.close();
    writeFileSync(join(dir, "state", "federated-partner.org.json"), text);
    const again = follow();
    expect(statusOf(again)).toMatchObject({ problem: { code: "E_FEDERATION_STATE" }, sequence: undefined });
    expect(rootsOf(again)).toEqual(["CN=first"]);
    expect(await fetchNow(again)).toMatchObject({ problem: undefined, sequence: 5n });
  });

  test("is in use even when it cannot be kept, and that is said", async () => {
    writeFileSync(join(dir, "file"), "");
    const client = follow([spiffe()], { stateFolder: join(dir, "file") });
    expect(await fetchNow(client)).toMatchObject({ problem: { code: "E_FEDERATION_STATE" }, sequence: 5n });
  });
});

test("partners that do not change go on when the list does", async () => {
  const client = follow();
  await fetchNow(client);
  const other = spiffe({ trustDomain: parseTrustDomain("third.org"), bootstrap: undefined });
  let changes = 0;
  client.subscribe(() => changes++);
  client.setPartners([spiffe(), other]);
  expect(client.status.map(({ sequence }) => sequence)).toEqual([5n, undefined]);
  client.setPartners([other]);
  expect([...client.bundles.keys()]).toEqual([]);
  expect(changes).toBe(2);
  client.close();
  expect(clock.pending).toBe(0);
});
