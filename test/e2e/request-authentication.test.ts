import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { afterAll, describe, expect, it, vi } from "vitest";
import { startApp, type TestApp } from "../support/app.ts";
import { type Answer, ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { ALLOW_WEB, type Mesh, type MeshOptions, startMesh } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import {
  AUDIENCE,
  ISSUER,
  jwkSet,
  rawToken,
  serveDocuments,
  soundClaims,
  type TestDocuments,
  token,
  tokenKey,
} from "../support/token-issuer.ts";

const folder = mkdtempSync(join(tmpdir(), "countersign-jwt-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const ca = createTestCa("idp.example.org");
writeFileSync(join(folder, "ca.pem"), ca.bundlePem);
const certificate = ca.issue({ dnsSans: ["localhost"] });

const rsa = tokenKey("RS256", "rsa");
const later = tokenKey("RS256", "later");

interface RuleOptions {
  /** More lines of the rule, each without indentation. */
  readonly rule?: readonly string[];
  /** Instead of the set in the document. */
  readonly jwksUri?: string;
}

function requestAuthentication({ rule = [], jwksUri }: RuleOptions = {}): string {
  const keys = jwksUri === undefined ? `jwks: '${jwkSet(rsa)}'` : `jwksUri: ${jwksUri}`;
  const lines = [`audiences: [${AUDIENCE}]`, keys, ...rule];
  return `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: idp, namespace: shop }
spec:
  jwtRules:
    - issuer: ${ISSUER}
${lines.map((line) => `      ${line}`).join("\n")}
`;
}

const ONLY_ALICE = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  action: ALLOW
  rules:
    - from: [{ source: { requestPrincipals: ["${ISSUER}/alice"] } }]
`;

async function mesh(
  policies: string,
  options: Omit<MeshOptions, "appPort" | "policies"> = {},
): Promise<Mesh & { readonly app: TestApp; readonly seen: IncomingMessage[] }> {
  const app = await startApp((_, response) => response.end("served"));
  atEnd(() => app.close());
  const made = await startMesh({ ...options, policies, appPort: app.port });
  atEnd(() => made.close());
  return { ...made, app, seen: app.requests };
}

const bearer = (text: string): Record<string, string> => ({ authorization: `Bearer ${text}` });
const get = (to: Mesh, headers: Record<string, string> = {}, path = "/x"): Promise<Answer> =>
  ask(to.port, path, { headers });

describe("a request with a token", () => {
  it("is who its token says, for policy and for the record, and the app does not get the token", async () => {
    const m = await mesh(ONLY_ALICE + requestAuthentication());
    expect((await get(m, bearer(token(rsa)))).status).toBe(200);
    expect(m.seen[0]?.headers.authorization).toBeUndefined();
    const record = await m.inbound.audit.next(() => true);
    expect(record).toMatchObject({
      decision: "allow",
      principal: `${ISSUER}/alice`,
      rule: "ns[shop]-policy[web]-rule[0]",
    });
    expect(JSON.stringify(record)).not.toContain(token(rsa).split(".")[1]);
    expect((await get(m, bearer(token(rsa, { sub: "bob" })))).status).toBe(403);
    const denied = await m.inbound.audit.next(({ decision }) => decision === "deny");
    expect(denied).toMatchObject({ principal: `${ISSUER}/bob`, reason: "E_POLICY_DENIED_BY_DEFAULT" });
  });

  it("needs none, but then it is nobody", async () => {
    const open = await mesh(ALLOW_WEB + requestAuthentication());
    expect((await get(open)).status).toBe(200);
    const closed = await mesh(ONLY_ALICE + requestAuthentication());
    expect((await get(closed)).status).toBe(403);
  });

  it("keeps it where the rule says so", async () => {
    const m = await mesh(ALLOW_WEB + requestAuthentication({ rule: ["forwardOriginalToken: true"] }));
    const text = token(rsa);
    await get(m, bearer(text));
    expect(m.seen[0]?.headers.authorization).toBe(`Bearer ${text}`);
  });

  it("is found in the access_token parameter, which alone is taken out of the query", async () => {
    const m = await mesh(ONLY_ALICE + requestAuthentication());
    const text = token(rsa);
    const paths = [`/x?a=%2F1&access_token=${text}&b=`, `/x?access_token=${text}`, `/x?access%5Ftoken=${text}&c=2`];
    for (const path of paths) {
      // oxlint-disable-next-line no-await-in-loop -- in order
      expect((await get(m, {}, path)).status, path).toBe(200);
    }
    expect(m.seen.map(({ url }) => url)).toEqual(["/x?a=%2F1&b=", "/x", "/x?c=2"]);
  });

  it("is found in named headers, parameters and cookies, and nowhere else", async () => {
    const rule = ['fromHeaders: [{ name: X-Jwt, prefix: "jwt " }]', "fromParams: [t]", "fromCookies: [session]"];
    const m = await mesh(ONLY_ALICE + requestAuthentication({ rule }));
    const text = token(rsa);
    const status = async (headers: Record<string, string>, path?: string): Promise<number> =>
      (await get(m, headers, path)).status;
    expect(await status({ "x-jwt": `jwt ${text}` })).toBe(200);
    expect(await status({}, `/x?t=${text}`)).toBe(200);
    expect(await status({ cookie: `a=1; session=${text}; b=2` })).toBe(200);
    expect(m.seen.map(({ headers, url }) => [headers["x-jwt"], url, headers.cookie])).toEqual([
      [undefined, "/x", undefined],
      [undefined, "/x", undefined],
      [undefined, "/x", "a=1; b=2"],
    ]);
    expect(await status(bearer(text))).toBe(403);
    expect(await status({}, `/x?access_token=${text}`)).toBe(403);
  });

  it("tells the app its claims, which nobody else can", async () => {
    const rule = [
      "outputPayloadToHeader: X-Payload",
      "outputClaimToHeaders: [{ header: X-User, claim: sub }, { header: X-Level, claim: org.level }, { header: X-Bad, claim: evil }, { header: X-List, claim: groups }]",
    ];
    const m = await mesh(ALLOW_WEB + requestAuthentication({ rule }));
    const text = token(rsa, { org: { level: 3 }, evil: "a\r\nx-admin: 1", groups: ["a"] });
    const forged = {
      "x-payload": "forged",
      "x-user": "root",
      "x-level": "9",
      "x-bad": "b",
      x_user: "root",
      "x-list": "l",
    };
    await get(m, { ...bearer(text), ...forged });
    await get(m, forged);
    const [proven, nobody] = m.seen.map(({ headers }) => headers);
    expect(proven).toMatchObject({ "x-user": "alice", "x-level": "3", "x-payload": text.split(".")[1] });
    for (const name of ["x-bad", "x-list", "x_user", "x-admin"]) expect(proven).not.toHaveProperty(name);
    for (const name of Object.keys(forged)) expect(nobody).not.toHaveProperty(name);
  });

  it("takes those names out of trailers too", async () => {
    const rule = ["outputClaimToHeaders: [{ header: X-User, claim: sub }]"];
    const m = await mesh(ALLOW_WEB + requestAuthentication({ rule }));
    const client = await rawClient(m.port);
    atEnd(async () => void client.socket.destroy());
    client.send(
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nX-User: root\r\nX-Sum: 1\r\n\r\n",
    );
    await client.closed();
    expect(m.seen[0]?.trailers).not.toHaveProperty("x-user");
  });

  it("matches claims, with lists parted by spaces where the rule says so", async () => {
    const allow = ALLOW_WEB.replace(
      /rules:[\s\S]*/,
      'rules:\n    - when: [{ key: "request.auth.claims[roles]", values: [admin] }, { key: "request.auth.claims[scope]", values: [write] }]\n',
    );
    const m = await mesh(allow + requestAuthentication({ rule: ["spaceDelimitedClaims: [roles]"] }));
    expect((await get(m, bearer(token(rsa, { roles: "user admin", scope: "read write" })))).status).toBe(200);
    expect((await get(m, bearer(token(rsa, { roles: "useradmin", scope: "read write" })))).status).toBe(403);
  });

  it("keeps its body: it waits meanwhile, however long", async () => {
    const bodies: string[] = [];
    const app = await startApp((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        bodies.push(Buffer.concat(parts).toString());
        response.end("got it");
      });
    });
    atEnd(() => app.close());
    const m = await startMesh({ appPort: app.port, policies: ONLY_ALICE + requestAuthentication() });
    atEnd(() => m.close());
    const client = await rawClient(m.port);
    atEnd(async () => void client.socket.destroy());
    const body = "x".repeat(300_000);
    client.send(
      `POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token(rsa)}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    expect(await client.until((text) => text.includes("got it"))).toMatch(/^HTTP\/1\.1 200 /);
    expect(bodies).toEqual([body]);
  });
});

describe("a bad token", () => {
  const hs256 = rawToken({ alg: "HS256", kid: "rsa" }, soundClaims(), (input) =>
    createHmac("sha256", rsa.publicKey.export({ type: "spki", format: "pem" }))
      .update(input)
      .digest(),
  );
  const sound = token(rsa);
  const now = Math.floor(Date.now() / 1000);
  it.each<readonly [string, string, { readonly headers?: Record<string, string>; readonly path?: string }]>([
    ["E_JWT_EXPIRED", "expired", { headers: bearer(token(rsa, { exp: now - 60 })) }],
    ["E_JWT_CLAIMS", "without exp", { headers: bearer(token(rsa, { exp: undefined })) }],
    ["E_JWT_AUDIENCE", "for somebody else", { headers: bearer(token(rsa, { aud: "payments" })) }],
    ["E_JWT_ISSUER", "of another issuer", { headers: bearer(token(rsa, { iss: "https://evil.example" })) }],
    [
      "E_JWT_ALGORITHM",
      "alg none",
      { headers: bearer(rawToken({ alg: "none" }, soundClaims(), () => Buffer.alloc(0))) },
    ],
    ["E_JWT_ALGORITHM", "HS256 with the public key", { headers: bearer(hs256) }],
    ["E_JWT_KEY_UNKNOWN", "of an unknown key", { headers: bearer(token(later)) }],
    ["E_JWT_CRITICAL", "with crit", { headers: bearer(token(rsa, {}, { crit: ["x"] })) }],
    ["E_JWT_SIGNATURE", "with a bit turned", { headers: bearer(`${sound.slice(0, -8)}AAAAAAAA`) }],
    ["E_JWT_MALFORMED", "that is no token", { headers: bearer("hello") }],
    ["E_JWT_MALFORMED", "that is empty", { headers: { authorization: "Bearer" } }],
    ["E_JWT_MALFORMED", "behind a scheme in another case", { headers: { authorization: "bEaReR hello" } }],
    ["E_JWT_TOO_LONG", "of 40 KiB", { headers: bearer(`${sound}${"A".repeat(40_000)}`) }],
    ["E_JWT_TWO_TOKENS", "beside another", { headers: bearer(sound), path: `/x?access_token=${sound}` }],
    ["E_JWT_TWO_TOKENS", "given twice", { path: `/x?access_token=${sound}&access_token=${sound}` }],
  ])("%s: %s: 401, and the app sees nothing", async (code, _, { headers, path }) => {
    const m = await mesh(ALLOW_WEB + requestAuthentication());
    const answer = await get(m, headers, path);
    expect([answer.status, answer.headers["x-countersign-code"]]).toEqual([401, code]);
    expect(answer.headers["www-authenticate"]).toBe('Bearer error="invalid_token"');
    expect(m.seen).toEqual([]);
    const record = await m.inbound.audit.next(() => true);
    expect(record).toMatchObject({ decision: "deny", reason: code, status: 401, principal: undefined });
    for (const part of sound.split(".")) expect(JSON.stringify(record)).not.toContain(part);
    // the connection goes on
    expect((await get(m, bearer(sound))).status).toBe(200);
  });

  it("is taken apart once, however many rules look at it", async () => {
    const others = Array.from({ length: 20 }, (_, at) =>
      requestAuthentication().replace("name: idp", `name: idp${at}`).replace(ISSUER, `https://idp${at}.example`),
    );
    const parse = vi.spyOn(JSON, "parse");
    atEnd(async () => parse.mockRestore());
    const readings = async (policies: string, mark: string): Promise<number> => {
      const m = await mesh(ALLOW_WEB + policies);
      const answer = await get(m, bearer(token(rsa, { iss: "https://evil.example", mark })));
      expect([answer.status, answer.headers["x-countersign-code"]]).toEqual([401, "E_JWT_ISSUER"]);
      return parse.mock.calls.filter(([text]) => text.includes(mark)).length;
    };
    const once = await readings(requestAuthentication(), "with-one");
    expect(once).toBeGreaterThan(0);
    expect(await readings(requestAuthentication() + others.join(""), "with-many")).toBe(once);
  });

  it("on two lines is refused: 401", async () => {
    const m = await mesh(ALLOW_WEB + requestAuthentication());
    const client = await rawClient(m.port);
    atEnd(async () => void client.socket.destroy());
    const line = `Authorization: Bearer ${sound}\r\n`;
    client.send(`GET / HTTP/1.1\r\nHost: a\r\n${line}${line}Connection: close\r\n\r\n`);
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 401 [\s\S]*E_JWT_TWO_TOKENS/);
  });

  it("of 64 KiB is more than a head holds: 431", async () => {
    const m = await mesh(ALLOW_WEB + requestAuthentication());
    expect((await get(m, bearer("A".repeat(65_536)))).status).toBe(431);
  });

  it("in a preflight is refused too, and a preflight needs none", async () => {
    const m = await mesh(ALLOW_WEB + requestAuthentication());
    const preflight = { origin: "https://a.example", "access-control-request-method": "PUT" };
    const outbound = await startMeshAllowing(m);
    expect((await ask(outbound, "/x", { method: "OPTIONS", headers: preflight })).status).toBe(200);
    expect((await ask(outbound, "/x", { method: "OPTIONS", headers: { ...preflight, ...bearer("no") } })).status).toBe(
      401,
    );
  });
});

/** A listener that browsers' pages may use. */
async function startMeshAllowing(m: Mesh): Promise<number> {
  const { startTestSidecar, ORDERS, WEB } = await import("../support/mesh.ts");
  const made = await startTestSidecar({
    ca: m.ca,
    svid: m.ca.issue({ spiffeId: WEB }),
    config: `outbound:\n  - { name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${m.meshPort}"], identity: "${ORDERS}", protocol: http, browser: allow }`,
  });
  atEnd(() => made.sidecar.drain(0));
  return made.port("out");
}

describe("keys that are fetched", () => {
  const both = `requestAuthentication: { addresses: ["127.0.0.0/8", "::1"], ca: "${join(folder, "ca.pem")}" }`;
  type Serve = Parameters<typeof serveDocuments>[0];

  async function issuer(answer: Serve): Promise<TestDocuments & { readonly jwksUri: string }> {
    const served = await serveDocuments(answer, certificate);
    atEnd(() => served.close());
    return { ...served, jwksUri: `https://localhost:${served.port}/jwks` };
  }

  it("are fetched at once, and again for a key that is new, but not for every one that is not there", async () => {
    let keys = jwkSet(rsa);
    const idp = await issuer((_, response) => void response.end(keys));
    const m = await mesh(ONLY_ALICE + requestAuthentication({ jwksUri: idp.jwksUri }), { both });
    expect((await get(m, bearer(token(rsa)))).status).toBe(200);
    expect(idp.asked).toEqual(["/jwks"]);
    keys = jwkSet(rsa, later);
    const unknown = await get(m, bearer(token(later)));
    expect([unknown.status, unknown.headers["x-countersign-code"]]).toEqual([401, "E_JWT_KEY_UNKNOWN"]);
    expect(idp.asked).toHaveLength(1);
    expect(m.inbound.sidecar.keySources).toMatchObject([{ from: idp.jwksUri, keys: 1, fetches: 1, failures: 0 }]);
  });

  it.each<readonly [string, string, Serve]>([
    ["down", "E_JWKS_FETCH", (_, response) => void response.destroy()],
    ["an error", "E_JWKS_FETCH", (_, response) => void response.writeHead(500).end()],
    ["a redirect", "E_JWKS_FETCH", (_, response) => void response.writeHead(302, { location: "/other" }).end()],
    ["huge", "E_JWKS_TOO_LARGE", (_, response) => void response.end(`{"x":"${"y".repeat(2 ** 20)}","keys":[]}`)],
    ["no key set", "E_JWKS_CONTENT", (_, response) => void response.end("<html>")],
    ["slow", "E_JWKS_FETCH", () => undefined],
  ])("%s: calls with a token fail with 503, those without go on", async (_, code, answer) => {
    const idp = await issuer(answer);
    const rule = ["timeout: 300ms"];
    const m = await mesh(ALLOW_WEB + requestAuthentication({ jwksUri: idp.jwksUri, rule }), { both });
    const withToken = get(m, bearer(token(rsa)));
    expect((await get(m)).status).toBe(200);
    const refused = await withToken;
    expect([refused.status, refused.headers["x-countersign-code"]]).toEqual([503, "E_JWKS_UNAVAILABLE"]);
    expect(m.inbound.sidecar.keySources[0]?.problem?.code).toBe(code);
    expect(m.seen).toHaveLength(1);
  });

  it("at a closed address are not even asked for", async () => {
    const idp = await issuer((_, response) => void response.end(jwkSet(rsa)));
    const m = await mesh(ALLOW_WEB + requestAuthentication({ jwksUri: idp.jwksUri }));
    expect((await get(m, bearer(token(rsa)))).status).toBe(503);
    expect([m.inbound.sidecar.keySources[0]?.problem?.code, idp.asked]).toEqual(["E_JWKS_ADDRESS", []]);
  });

  it("come by discovery where the rule names none", async () => {
    const idp = await issuer((request, response) => {
      const base = `https://localhost:${(request.socket.address() as { port: number }).port}`;
      const config = JSON.stringify({ issuer: base, jwks_uri: `${base}/keys` });
      response.end(request.url === "/keys" ? jwkSet(rsa) : config);
    });
    const iss = `https://localhost:${idp.port}`;
    const policies =
      ALLOW_WEB +
      requestAuthentication()
        .replace(`issuer: ${ISSUER}`, `issuer: ${iss}`)
        .replace(/ +jwks: .*\n/, "");
    const m = await mesh(policies, { both });
    expect((await get(m, bearer(token(rsa, { iss })))).status).toBe(200);
    expect(idp.asked).toEqual(["/.well-known/openid-configuration", "/keys"]);
  });

  it("that come late let the caller leave, and a new policy decide anew", async () => {
    const waiting: (() => void)[] = [];
    const arrived: (() => void)[] = [];
    const asked = new Promise<void>((resolve) => arrived.push(resolve));
    const idp = await issuer((_, response) => {
      waiting.push(() => void response.end(jwkSet(rsa)));
      for (const tell of arrived) tell();
    });
    const policies = ALLOW_WEB + requestAuthentication({ jwksUri: idp.jwksUri });
    const m = await mesh(policies, { both });
    await asked;
    const leaver = await rawClient(m.port);
    leaver.send(`GET /left HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token(rsa)}\r\n\r\n`);
    const stays = get(m, bearer(token(rsa)));
    // the request is on its way once another one, sent later, has an answer
    expect((await get(m)).status).toBe(200);
    leaver.socket.resetAndDestroy();
    expect(await m.inbound.audit.next(({ path }) => path === "/left")).toMatchObject({ reason: "E_CALLER_GONE" });
    m.inbound.setPolicies(ONLY_ALICE.replace("alice", "bob") + requestAuthentication({ jwksUri: idp.jwksUri }));
    for (const answer of waiting) answer();
    expect((await stays).status).toBe(403);
    expect(m.seen).toHaveLength(1);
  });
});

describe("a new policy", () => {
  it("ends an open call whose token it takes no more", async () => {
    const app = await startApp((_, response) => response.writeHead(200).write("begun"));
    atEnd(() => app.close());
    const m = await startMesh({ appPort: app.port, policies: ONLY_ALICE + requestAuthentication() });
    atEnd(() => m.close());
    const client = await rawClient(m.port);
    atEnd(async () => void client.socket.destroy());
    client.send(`GET /open HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token(rsa)}\r\n\r\n`);
    await client.until((text) => text.includes("begun"));
    m.inbound.setPolicies(`${ONLY_ALICE}${requestAuthentication()}# the same\n`);
    m.inbound.setPolicies(ONLY_ALICE + requestAuthentication().replace(AUDIENCE, "others"));
    const record = await m.inbound.audit.next(({ path }) => path === "/open");
    expect(record).toMatchObject({ decision: "deny", reason: "E_JWT_AUDIENCE", close: "policy-changed" });
  });
});

describe("a call that outlives its token", () => {
  it("goes on until a change of policies has it admitted anew, whatever the change", async () => {
    const app = await startApp(({ url }, response) => (url === "/open" ? response.write("begun") : response.end()));
    atEnd(() => app.close());
    const m = await startMesh({ appPort: app.port, policies: ALLOW_WEB + requestAuthentication() });
    atEnd(() => m.close());
    const client = await rawClient(m.port);
    atEnd(async () => void client.socket.destroy());
    client.send(`GET /open HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token(rsa)}\r\n\r\n`);
    await client.until((text) => text.includes("begun"));
    // ten minutes of life and thirty seconds of skew
    const { now } = Date;
    const later = vi.spyOn(Date, "now").mockImplementation(() => now() + 631_000);
    atEnd(async () => later.mockRestore());
    expect((await get(m)).status).toBe(200);
    expect(m.inbound.audit.ended.map(({ path }) => path)).toEqual(["/x"]);
    m.inbound.setPolicies(`${ALLOW_WEB}${requestAuthentication()}${ONLY_ALICE.replace("name: web", "name: alice")}`);
    const record = await m.inbound.audit.next(({ path }) => path === "/open");
    expect(record).toMatchObject({ decision: "deny", reason: "E_JWT_EXPIRED", close: "policy-changed" });
  });
});

describe("a gRPC call", () => {
  it("with a bad token ends with UNAUTHENTICATED, one that policy denies with PERMISSION_DENIED", async () => {
    const m = await mesh(ONLY_ALICE + requestAuthentication());
    const client = new Client(`127.0.0.1:${m.port}`, credentials.createInsecure());
    atEnd(async () => client.close());
    const status = (authorization: string): Promise<number> =>
      new Promise((resolve) => {
        const metadata = new Metadata();
        metadata.set("authorization", authorization);
        const same = (value: Buffer): Buffer => value;
        client.makeUnaryRequest("/orders.Orders/Get", same, same, Buffer.alloc(3), metadata, (error) => {
          resolve(error?.code ?? 0);
        });
      });
    expect(await status("Bearer no")).toBe(16);
    expect(await status(`Bearer ${token(rsa, { sub: "bob" })}`)).toBe(7);
    expect(m.seen).toEqual([]);
    expect((await m.inbound.audit.next(() => true)).reason).toBe("E_JWT_MALFORMED");
  });
});

describe("in istio mode", () => {
  const two = token(rsa, { iss: "https://two.example" });
  const both = "authorization: { mode: istio }";
  it("a preflight passes by, two sound tokens are no fault, and keys that cannot be had are 401", async () => {
    const m = await mesh(ALLOW_WEB + requestAuthentication(), { both });
    const sound = token(rsa, { exp: undefined });
    expect((await get(m, bearer(sound), `/x?access_token=${sound}`)).status).toBe(200);
    const missing = await mesh(ALLOW_WEB + requestAuthentication({ jwksUri: "http://127.0.0.1:1/jwks" }), { both });
    expect((await get(missing, bearer(sound))).status).toBe(401);
  });

  // as test/interop/envoy-jwt.test.ts has seen it of Envoy
  it.each<readonly [string, Record<string, string>, readonly [status: number, code: unknown, passedOn: string]]>([
    ["a good token alone", { "x-a": token(rsa) }, [200, undefined, ""]],
    ["one by the first rule, and garbage for the second", { "x-a": token(rsa), "x-b": "no" }, [200, undefined, "x-b"]],
    ["garbage for the first, and one by the second", { "x-a": "no", "x-b": two }, [200, undefined, "x-a"]],
    ["one by each", { "x-a": token(rsa), "x-b": two }, [200, undefined, "x-b"]],
    ["a good one in the other's place", { "x-b": token(rsa) }, [401, "E_JWT_ISSUER", ""]],
    ["garbage in both", { "x-a": "no", "x-b": "no" }, [401, "E_JWT_MALFORMED", ""]],
    ["one for somebody else", { "x-a": token(rsa, { aud: "payments" }) }, [403, "E_JWT_AUDIENCE", ""]],
  ])("by two rules with places of their own: %s", async (_, headers, expected) => {
    const places = ["x-a", "x-b"].map((name) => requestAuthentication({ rule: [`fromHeaders: [{ name: ${name} }]`] }));
    const rules = `${places[0]}${places[1]?.replace("name: idp", "name: idp2").replace(ISSUER, "https://two.example")}`;
    const m = await mesh(ALLOW_WEB + rules, { both });
    const answer = await get(m, headers);
    const passedOn = Object.keys(m.seen[0]?.headers ?? {}).filter((name) => /^x-[ab]$/.test(name));
    expect([answer.status, answer.headers["x-countersign-code"], passedOn.join(" ")]).toEqual(expected);
  });

  it("a cookie is not taken out", async () => {
    const m = await mesh(ALLOW_WEB + requestAuthentication({ rule: ["fromCookies: [session]"] }), { both });
    const cookie = `a=1; session=${token(rsa)}`;
    expect((await get(m, { cookie })).status).toBe(200);
    expect(m.seen[0]?.headers.cookie).toBe(cookie);
  });
});
