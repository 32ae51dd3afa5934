// JWT-SVIDs between sidecars, on the wire: what goes with an outbound call, and what an inbound one must bring.
import { describe, expect, test } from "vitest";
import type { IdentitySnapshot } from "../../src/core/identity.ts";
import { parseSpiffeId } from "../../src/core/spiffe-id.ts";
import { startApp } from "../support/app.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { eventually } from "../support/eventually.ts";
import {
  AUDIENCE,
  badTokens,
  jwtBundles,
  jwtSvid,
  TOKEN_ID,
  type TokenParts,
  unusualTokens,
} from "../support/jwt-svids.ts";
import {
  ALLOW_WEB,
  type Mesh,
  ORDERS,
  startMesh,
  startTestSidecar,
  type TestSidecar,
  TRUST_DOMAIN,
  WEB,
} from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { tlsClient } from "../support/tls-client.ts";

const ca = createTestCa(TRUST_DOMAIN);
const fresh = (parts: TokenParts = {}): string => jwtSvid(Date.now(), parts);

/** An app that answers with the header fields it got. */
async function echo(): Promise<number> {
  const app = await startApp((request, response) => response.end(JSON.stringify(request.headers)));
  atEnd(() => app.close());
  return app.port;
}

async function startInbound(jwt: string, policies = ALLOW_WEB, mtls = "strict"): Promise<TestSidecar> {
  const config = `inbound:
  - { name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${await echo()}", protocol: http, mtls: ${mtls}, jwtSvid: ${jwt} }
`;
  const sidecar = await startTestSidecar({ ca, svid: undefined, policies, config });
  sidecar.identity.jwtBundles = jwtBundles;
  sidecar.identity.serve(ca.issue({ spiffeId: ORDERS }), [ca]);
  atEnd(() => sidecar.sidecar.drain(0));
  return sidecar;
}

/** One request of web's, with these header lines; resolves with the whole answer. */
async function ask(sidecar: TestSidecar, lines: readonly string[]): Promise<string> {
  const client = await tlsClient(sidecar.port("in"), ca.issue({ spiffeId: WEB }));
  client.send(["GET / HTTP/1.1", "Host: a", "Connection: close", ...lines, "", ""].join("\r\n"));
  return client.closed();
}
const codeOf = (answer: string): string | undefined => /x-countersign-code: (\S+)/i.exec(answer)?.[1];
const statusOf = (answer: string): string => answer.slice(9, 12);
const bearer = (token: string): readonly string[] => [`Authorization: Bearer ${token}`];

describe("an inbound listener that requires a JWT-SVID", () => {
  test("takes a good one, shows it to policy as request principal, and keeps it from the app", async () => {
    const policies = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: tokens, namespace: shop }
spec:
  action: ALLOW
  rules:
    - from: [{ source: { principals: [example.org/ns/shop/sa/web], requestPrincipals: ["${TOKEN_ID}"] } }]
`;
    const sidecar = await startInbound(`{ audience: "${AUDIENCE}" }`, policies);
    const answer = await ask(sidecar, bearer(fresh()));
    expect(statusOf(answer)).toBe("200");
    expect(answer).not.toContain("authorization");
    const other = await ask(sidecar, bearer(fresh({ claims: { sub: "spiffe://example.org/ns/shop/sa/other" } })));
    expect([statusOf(other), codeOf(other)]).toEqual(["403", "E_POLICY_DENIED_BY_DEFAULT"]);
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    for (const id of [TOKEN_ID, "spiffe://example.org/ns/shop/sa/other"])
      await sidecar.audit.next(({ principal }) => principal === id);
  });

  test("refuses each bad one with its own reason, and tells nothing of it", async () => {
    const sidecar = await startInbound(`{ audience: "${AUDIENCE}" }`);
    for (const [what, code, parts] of badTokens) {
      const token = fresh(parts(Math.floor(Date.now() / 1000)));
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await ask(sidecar, bearer(token));
      expect([what, statusOf(answer), codeOf(answer)]).toEqual([what, "401", code]);
      const record = sidecar.audit.ended.at(-1);
      expect([what, record?.reason]).toEqual([what, code]);
      for (const part of token.split(".")) if (part.length > 20) expect(JSON.stringify(record)).not.toContain(part);
    }
  });

  test("takes what is unusual and good", async () => {
    const sidecar = await startInbound(`{ audience: "${AUDIENCE}" }`);
    for (const [what, parts] of unusualTokens) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await ask(sidecar, bearer(fresh(parts(Math.floor(Date.now() / 1000)))));
      expect([what, statusOf(answer)]).toEqual([what, "200"]);
    }
  });

  test.each<[string, string, () => readonly string[]]>([
    ["none", "E_JWT_SVID_MISSING", () => []],
    ["another scheme", "E_JWT_SVID_MISSING", () => ["Authorization: Basic YTpi"]],
    ["two", "E_JWT_SVID_SEVERAL", () => [...bearer(fresh()), ...bearer(fresh())]],
    ["two in one line", "E_JWT_SVID_MALFORMED", () => bearer(`${fresh()}, Bearer ${fresh()}`)],
  ])("refuses a request with %s: %s", async (_what, code, lines) => {
    const sidecar = await startInbound(`{ audience: "${AUDIENCE}" }`);
    const answer = await ask(sidecar, lines());
    expect([statusOf(answer), codeOf(answer)]).toEqual(["401", code]);
    expect(answer).toMatch(/www-authenticate: Bearer/i);
  });

  test("takes our own SPIFFE ID for the audience, and another header, where nothing else is said", async () => {
    const sidecar = await startInbound("{ header: X-Jwt-Svid }");
    expect(AUDIENCE).toBe(ORDERS);
    expect(statusOf(await ask(sidecar, [`x-jwt-svid: ${fresh()}`, "Authorization: Basic YTpi"]))).toBe("200");
    expect(codeOf(await ask(sidecar, [`x-jwt-svid: ${fresh({ claims: { aud: [WEB] } })}`]))).toBe(
      "E_JWT_SVID_AUDIENCE",
    );
    expect(codeOf(await ask(sidecar, bearer(fresh())))).toBe("E_JWT_SVID_MISSING");
    const takenAway = ["Connection: x-jwt-svid", `x-jwt-svid: ${fresh()}`];
    expect(codeOf(await ask(sidecar, takenAway))).toBe("E_JWT_SVID_MISSING");
  });

  test("that is not required is judged all the same when it comes", async () => {
    const sidecar = await startInbound(`{ audience: "${AUDIENCE}", required: false }`);
    expect(statusOf(await ask(sidecar, []))).toBe("200");
    expect(codeOf(await ask(sidecar, bearer(fresh({ header: { alg: "none" } }))))).toBe("E_JWT_SVID_ALGORITHM");
  });

  test("believes none without a verified caller, unless it is told to", async () => {
    const policies = "";
    const open = "authorization: { default: allow }\n";
    const plain = async (jwt: string): Promise<string> => {
      const config = `${open}inbound:
  - { name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${await echo()}", protocol: http, mtls: permissive, jwtSvid: ${jwt} }
`;
      const sidecar = await startTestSidecar({ ca, svid: undefined, policies, config });
      atEnd(() => sidecar.sidecar.drain(0));
      sidecar.identity.jwtBundles = jwtBundles;
      sidecar.identity.serve(ca.issue({ spiffeId: ORDERS }), [ca]);
      const client = await rawClient(sidecar.port("in"));
      client.send(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${bearer(fresh())[0] ?? ""}\r\n\r\n`);
      return client.closed();
    };
    expect(codeOf(await plain(`{ audience: "${AUDIENCE}" }`))).toBe("E_JWT_SVID_PLAINTEXT");
    expect(statusOf(await plain(`{ audience: "${AUDIENCE}", plaintext: true }`))).toBe("200");
  });

  test("a bundle that is taken away ends what it has proven before", async () => {
    const sidecar = await startInbound(`{ audience: "${AUDIENCE}" }`);
    const token = fresh();
    expect(statusOf(await ask(sidecar, bearer(token)))).toBe("200");
    sidecar.identity.jwtBundles = new Map();
    sidecar.identity.serve(ca.issue({ spiffeId: ORDERS }), [ca]);
    expect(codeOf(await ask(sidecar, bearer(token)))).toBe("E_JWT_SVID_NO_BUNDLE");
    sidecar.identity.jwtBundles = undefined;
    sidecar.identity.serve(ca.issue({ spiffeId: ORDERS }), [ca]);
    expect(codeOf(await ask(sidecar, bearer(token)))).toBe("E_JWT_SVID_NO_BUNDLE");
  });
});

describe("an outbound listener with jwtSvid", () => {
  const svidOf = (token: string, lifeMs = 300_000) => ({
    spiffeId: parseSpiffeId(WEB),
    token,
    issuedAtMs: Date.now(),
    expiresMs: Date.now() + lifeMs,
  });

  async function start(outbound: string, jwt: (audience: string) => string): Promise<Mesh> {
    const mesh = await startMesh({
      appPort: await echo(),
      outbound,
      inbound: `jwtSvid: { header: x-jwt-svid, required: false }`,
    });
    atEnd(() => mesh.close());
    mesh.inbound.identity.jwtBundles = jwtBundles as IdentitySnapshot["jwtBundles"];
    mesh.inbound.identity.serve(mesh.ca.issue({ spiffeId: ORDERS }), [mesh.ca]);
    mesh.outbound.identity.jwtSvid = (audience) => svidOf(jwt(audience));
    mesh.outbound.identity.serve(mesh.ca.issue({ spiffeId: WEB }), [mesh.ca]);
    return mesh;
  }
  async function call(mesh: Mesh, lines: readonly string[] = []): Promise<string> {
    const client = await rawClient(mesh.port);
    client.send(["GET / HTTP/1.1", "Host: a", "Connection: close", ...lines, "", ""].join("\r\n"));
    return client.closed();
  }

  test("sends one with each request, for the server's own ID, and the server takes it", async () => {
    const audiences: string[] = [];
    const mesh = await start("jwtSvid: { header: x-jwt-svid }", (audience) => {
      audiences.push(audience);
      return fresh({ claims: { aud: [audience], sub: WEB } });
    });
    await eventually(async () => expect(statusOf(await call(mesh))).toBe("200"));
    expect(audiences).toEqual([ORDERS]);
    await mesh.inbound.audit.next(({ principal }) => principal === WEB);
    const texts = JSON.stringify([mesh.inbound.audit.ended, mesh.outbound.audit.ended]);
    expect(texts).not.toMatch(/ey[A-Za-z0-9_-]{10}/);
  });

  test("in authorization it goes behind Bearer, and an app's own token there is refused", async () => {
    const token = fresh({ claims: { sub: WEB } });
    const mesh = await start('jwtSvid: { audience: "x" }', () => token);
    await eventually(async () => expect(await call(mesh)).toContain(`"authorization":"Bearer ${token}"`));
    for (const line of ["Authorization: Basic YTpi", "authorization: Bearer mine", "AUTHORIZATION:"]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await call(mesh, [line]);
      expect([line, statusOf(answer), codeOf(answer)]).toEqual([line, "400", "E_JWT_SVID_CONFLICT"]);
    }
  });

  test("without one the call is refused and the reason said; nothing waits", async () => {
    const mesh = await start("jwtSvid: { header: x-jwt-svid }", () => {
      throw new TypeError("the agent is gone");
    });
    const answer = await call(mesh);
    expect([statusOf(answer), codeOf(answer)]).toEqual(["503", "E_JWT_SVID_NONE"]);
  });
});
