import { mkdtempSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { createRemoteJWKSet, customFetch as joseFetch, jwtVerify } from "jose";
import * as openid from "openid-client";
import { Agent, fetch as undiciFetch } from "undici";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask } from "../../../test/support/ask.ts";
import { createTestCa, type TestCa } from "../../../test/support/cert-factory.ts";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import { workloadApiClient } from "../../../test/support/workload-api-client.ts";
import type { LocalPeer } from "../../sys/local-peer.ts";
import { parseSpiffeBundle } from "../spiffe-bundle.ts";
import type { JwtSvidResponse } from "../workload-api/proto.ts";
import { type IssuerConfig, parseIssuerConfig } from "./issuer-config.ts";
import { type RunningIssuer, startIssuer } from "./start-issuer.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
let folder: string;
let clock: FakeClock;
let webCa: TestCa;
let log: Record<string, unknown>[];
let issuers: RunningIssuer[];
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-")));
  // The libraries below ask the real clock.
  clock = fakeClock(Date.now());
  webCa = createTestCa("web.test");
  log = [];
  issuers = [];
});
afterEach(async () => {
  await Promise.all(issuers.map((issuer) => issuer.close()));
  rmSync(folder, { recursive: true });
});

const peer: LocalPeer = {
  credentials: { pid: 1, uid: 1001, gid: 1 },
  inspect: () => Promise.resolve({ path: "/opt/app", sha256: undefined }),
  close: () => undefined,
};
const config = (http: string, more = ""): IssuerConfig =>
  parseIssuerConfig(
    `trustDomain: example.org
socket: unix://${folder}/s
state: state
entries: [{ id: spiffe://example.org/orders, selectors: ["unix:uid:1001"] }]
http: ${http}
${more}`,
    join(folder, "issuer.yaml"),
    {},
  ).config;
async function start(initial: IssuerConfig): Promise<RunningIssuer> {
  const write = (fields: object): void => void log.push({ ...fields });
  const issuer = await startIssuer(initial, {
    clock,
    peers: { seesOtherUsers: true, open: () => peer },
    audit: { problem: undefined, event: () => undefined },
    log: { info: write, warn: write, error: write },
  });
  issuers.push(issuer);
  return issuer;
}
const portOf = (name: string): number =>
  Number(
    /\d+$/.exec(
      String(log.findLast((line) => line["event"] === "listening" && line["name"] === name)?.["address"]),
    )?.[0],
  );
async function fetchJwt(issuer: RunningIssuer): Promise<string> {
  const client = await workloadApiClient(issuer.address);
  const { svids } = await client.unary<JwtSvidResponse>("FetchJWTSVID", { audience: ["sts.cloud.test"], spiffeId: "" });
  client.close();
  return svids[0]?.svid ?? "";
}

/** What a reverse proxy at https://issuer.example.org does for the plain port. */
const throughProxy = (url: string, init?: object): Promise<Response> => {
  const { pathname, search, origin } = new URL(url);
  expect(origin).toBe("https://issuer.example.org");
  return fetch(`http://127.0.0.1:${portOf("http")}${pathname}${search}`, { ...init, redirect: "error" });
};

describe.each(["ec-p256", "rsa-2048"])("OpenID Connect with %s keys", (jwtKeyType) => {
  const algorithm = jwtKeyType === "rsa-2048" ? "RS256" : "ES256";
  const issuerUrl = "https://issuer.example.org/spiffe";
  const http = `{ listen: "127.0.0.1:0", issuer: ${issuerUrl} }`;

  it("is taken by openid-client and jose: discovery, keys, a token's iss, aud, sub and alg", async () => {
    const issuer = await start(config(http, `jwtKeyType: ${jwtKeyType}`));
    const relyingParty = await openid.discovery(new URL(issuerUrl), "sts.cloud.test", undefined, openid.None(), {
      [openid.customFetch]: throughProxy,
    });
    const metadata = relyingParty.serverMetadata();
    expect(metadata).toMatchObject({
      issuer: issuerUrl,
      jwks_uri: `${issuerUrl}/keys`,
      response_types_supported: ["id_token"],
      subject_types_supported: ["public"],
      id_token_signing_alg_values_supported: [algorithm],
      claims_supported: expect.arrayContaining(["iss", "sub", "aud", "exp", "iat"]) as string[],
    });
    const keys = createRemoteJWKSet(new URL(metadata.jwks_uri ?? ""), { [joseFetch]: throughProxy });
    const { payload, protectedHeader } = await jwtVerify(await fetchJwt(issuer), keys, {
      issuer: issuerUrl,
      audience: "sts.cloud.test",
      subject: "spiffe://example.org/orders",
      algorithms: [algorithm],
      requiredClaims: ["iss", "sub", "aud", "exp", "iat"],
    });
    expect(protectedHeader).toMatchObject({ alg: algorithm, typ: "JWT", kid: expect.any(String) as string });
    expect(payload.iss).toBe(issuerUrl);
  });

  it("keeps the old key published while the new one signs, and publishes the new one before", async () => {
    const issuer = await start(config(http, `jwtKeyType: ${jwtKeyType}\ncaTtl: 12h\nsvidTtl: 1h`));
    const kids = async (): Promise<string[]> => {
      const response = await throughProxy(`${issuerUrl}/keys`);
      return ((await response.json()) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
    };
    const kidOf = (token: string): string =>
      (JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()) as { kid: string }).kid;
    const [first = ""] = await kids();
    const before = await fetchJwt(issuer);
    clock.advance(6 * HOUR);
    const soon = (): Promise<string[]> => {
      clock.advance(1);
      return kids();
    };
    await expect.poll(soon).toEqual([first, expect.any(String) as string]);
    expect(kidOf(await fetchJwt(issuer))).toBe(first);
    const [, second = ""] = await kids();
    clock.advance(4 * HOUR);
    expect(kidOf(await fetchJwt(issuer))).toBe(second);
    expect(await kids()).toEqual([first, second]);
    expect(kidOf(before)).toBe(first);
  });
});

describe("the pages for everybody", () => {
  it.each([
    ["GET", "/bundle", 200],
    ["HEAD", "/bundle", 200],
    ["GET", "/bundle?x=1", 200],
    ["GET", "/keys", 404],
    ["GET", "/.well-known/openid-configuration", 404],
    ["GET", "/entries", 404],
    ["GET", "/../state/authorities.json", 404],
    ["POST", "/bundle", 405],
    ["DELETE", "/bundle", 405],
  ])("%s %s answers %d without issuer", async (method, path, status) => {
    await start(config('{ listen: "127.0.0.1:0" }'));
    const answer = await ask(portOf("http"), path, { method });
    expect(answer.status).toBe(status);
    if (status === 200 && method === "GET") {
      expect(parseSpiffeBundle(answer.body, "bundle")).toMatchObject({ sequence: 1n, refreshHintMs: 300_000 });
      expect(answer.headers).toMatchObject({
        "cache-control": "public, max-age=300",
        "content-type": "application/json",
      });
    }
  });

  it("take no body", async () => {
    await start(config('{ listen: "127.0.0.1:0" }'));
    const response = await fetch(`http://127.0.0.1:${portOf("http")}/bundle`, {
      method: "POST",
      body: "x".repeat(100_000),
    });
    expect(response.status).toBe(413);
  });

  it("hold no private member of a key", async () => {
    await start(config('{ listen: "127.0.0.1:0", issuer: https://a.example }', "jwtKeyType: rsa-2048"));
    for (const path of ["/keys", "/bundle"]) {
      // oxlint-disable-next-line no-await-in-loop -- two
      const { body } = await ask(portOf("http"), path);
      for (const key of (JSON.parse(body) as { keys: object[] }).keys)
        expect(Object.keys(key)).not.toEqual(expect.arrayContaining([expect.stringMatching(/^(?:d|p|q|dp|dq|qi|k)$/)]));
    }
  });

  it("are served as HTTPS with a web certificate, which may be renewed", async () => {
    const write = (): string => {
      const issued = webCa.issue({ dnsSans: ["localhost"] });
      for (const [name, pem] of [
        ["tls.pem", issued.chainPem],
        ["tls.key", issued.keyPem],
      ] as const) {
        writeFileSync(join(folder, `${name}.new`), pem, { mode: 0o600 });
        renameSync(join(folder, `${name}.new`), join(folder, name));
      }
      return issued.certificate.serialNumber;
    };
    const first = write();
    await start(
      config('{ listen: "127.0.0.1:0", issuer: https://localhost, tls: { certificate: tls.pem, key: tls.key } }'),
    );
    const agent = new Agent({ connect: { ca: webCa.bundlePem } });
    const response = await undiciFetch(`https://localhost:${portOf("http")}/keys`, { dispatcher: agent });
    expect(response.status).toBe(200);
    await agent.close();
    const serial = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const options = { port: portOf("http"), host: "127.0.0.1", servername: "localhost", ca: webCa.bundlePem };
        const socket = connectTls(options, () => {
          resolve(socket.getPeerX509Certificate()?.serialNumber ?? "");
          socket.destroy();
        });
        socket.on("error", reject);
      });
    expect(await serial()).toBe(first);
    const second = write();
    clock.advance(MINUTE);
    expect(await serial()).toBe(second);
    rmSync(join(folder, "tls.key"));
    clock.advance(MINUTE);
    expect(await serial()).toBe(second);
    expect(log).toContainEqual(expect.objectContaining({ event: "certificate.failed" }));
  });

  it("cannot be opened where something else listens", async () => {
    await start(config('{ listen: "127.0.0.1:0" }'));
    const port = portOf("http");
    const other = {
      ...config(`{ listen: "127.0.0.1:${port}" }`),
      stateFolder: join(folder, "b"),
      socketPath: join(folder, "b.sock"),
    };
    await expect(start(other)).rejects.toThrow(expect.objectContaining({ code: "E_LISTEN" }) as Error);
    // What was opened before is closed again.
    await start({ ...other, http: undefined });
  });
});

describe("the https_spiffe bundle endpoint", () => {
  it("shows an SVID of its own, always the current one", async () => {
    const issuer = await start(config('{ bundleEndpoint: { listen: "127.0.0.1:0" } }'));
    const shown = (): Promise<{ uri: string; serial: string }> =>
      new Promise((resolve, reject) => {
        const socket = connectTls(
          { port: portOf("bundle-endpoint"), host: "127.0.0.1", rejectUnauthorized: false },
          () => {
            const leaf = socket.getPeerX509Certificate();
            resolve({ uri: leaf?.subjectAltName ?? "", serial: leaf?.serialNumber ?? "" });
            socket.destroy();
          },
        );
        socket.on("error", reject);
      });
    const first = await shown();
    expect(first.uri).toBe("URI:spiffe://example.org/issuer");
    clock.advance(HOUR / 2);
    await expect.poll(async () => (await shown()).serial).not.toBe(first.serial);
    await issuer.close();
    issuers = [];
    expect(clock.pending).toBe(0);
  });
});
