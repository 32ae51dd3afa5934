// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of the configuration
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { CountersignErrors, formatError } from "../core/errors.ts";
import { loadSidecarConfig, parseSidecarConfig } from "./load-sidecar-config.ts";

const agent = { SPIFFE_ENDPOINT_SOCKET: "unix:///run/spire/agent.sock" };

function problems(text: string, environment: Record<string, string> = agent): string[] {
  try {
    parseSidecarConfig(text, "c.yaml", environment);
    return [];
  } catch (error) {
    if (error instanceof CountersignErrors) return error.errors.map(formatError);
    throw error;
  }
}

function load(text: string, environment: Record<string, string> = agent) {
  return parseSidecarConfig(text, "/etc/countersign/c.yaml", environment);
}

const inbound = (more: string): string => `inbound: [{ listen: "127.0.0.1:15006", app: "127.0.0.1:8080", ${more} }]`;
const outbound = (more: string): string =>
  `outbound: [{ listen: "127.0.0.1:9001", to: ["a:1"], identity: spiffe://example.org/a, ${more} }]`;

describe("defaults", () => {
  it("has the documented defaults for everything that the file leaves out", () => {
    const { config, warnings } = load("{}");
    expect(warnings.map(({ code }) => code)).toEqual(["W_CONFIG_IDLE"]);
    expect(config).toEqual({
      file: "/etc/countersign/c.yaml",
      workload: { namespace: "", labels: new Map() },
      identity: {
        kind: "workloadApi",
        address: "unix:///run/spire/agent.sock",
        hint: "",
        revocationGraceMs: 30_000,
      },
      trustDomainAliases: [],
      inbound: [],
      outbound: [],
      forward: [],
      outboundAsWritten: [],
      policies: [],
      policyUrls: [],
      authorization: {
        mode: "strict",
        default: "deny",
        pathNormalization: "MERGE_SLASHES",
        rootNamespace: "istio-system",
      },
      trustedProxies: [],
      extensionProviders: [],
      requestAuthentication: { addresses: [], ca: undefined },
      audit: { sinks: [{ kind: "stdout" }], onFailure: "block", queue: 8192, refusalsQueue: 100 },
      admin: undefined,
      health: undefined,
      metrics: undefined,
      workers: 1,
      limits: {
        connections: 4096,
        headBytes: 61_440,
        headFields: 100,
        memory: 0,
        requestLine: 16_384,
        streams: 100,
        streamBuffer: 65_536,
        http2: {
          resets: { burst: 200, perSecond: 100 },
          provokedResets: { burst: 100, perSecond: 20 },
          pings: { burst: 100, perSecond: 10 },
          settings: { burst: 30, perSecond: 2 },
          priorities: { burst: 300, perSecond: 50 },
          windowUpdates: { burst: 1000, perSecond: 200 },
          emptyFrames: { burst: 50, perSecond: 5 },
          continuations: 32,
          headerTable: 4096,
          stalledStreams: { streams: 50, for: 60_000 },
        },
      },
      timeouts: {
        handshake: 5000,
        classify: 1000,
        connect: 2000,
        head: 10_000,
        firstByte: 60_000,
        idle: 300_000,
        tunnelIdle: 3_600_000,
        connectionAge: 0,
      },
      drainTimeoutMs: 30_000,
      logLevel: "info",
    });
  });

  it("fills in a listener", () => {
    expect(load(inbound("")).config.inbound).toEqual([
      {
        name: "127.0.0.1:15006",
        listen: { kind: "tcp", host: "127.0.0.1", port: 15_006 },
        app: { kind: "tcp", host: "127.0.0.1", port: 8080 },
        appPort: 8080,
        protocol: "auto",
        mtls: "strict",
        svidHint: "",
        appSource: undefined,
        xfcc: "sanitize_set",
        proxyProtocol: false,
        sendProxyProtocol: undefined,
        upstream: {
          maxConnections: undefined,
          maxPending: 4096,
          maxRequests: 16_384,
          connectTimeout: undefined,
          idleTimeout: undefined,
          requestTimeout: 0,
          streamTimeout: 0,
        },
        tunnels: [],
        upgrades: ["websocket"],
        jwtSvid: undefined,
      },
    ]);
    expect(load(outbound("")).config.outbound).toEqual([
      {
        name: "127.0.0.1:9001",
        listen: { kind: "tcp", host: "127.0.0.1", port: 9001 },
        to: [{ host: "a", port: 1 }],
        identity: [
          {
            pattern: "spiffe://example.org/a",
            trustDomain: "example.org",
            exact: "spiffe://example.org/a",
            prefix: undefined,
          },
        ],
        svidHint: "",
        tunnel: "",
        authority: undefined,
        protocol: "auto",
        origins: [],
        browser: "refuse",
        allowUids: undefined,
        jwtSvid: undefined,
        upstream: {
          maxConnections: undefined,
          maxPending: 4096,
          maxRequests: 16_384,
          connectTimeout: undefined,
          idleTimeout: undefined,
          requestTimeout: 0,
          streamTimeout: 0,
        },
      },
    ]);
  });

  it("allows by default in istio mode and normalises as Istio does", () => {
    expect(load("authorization: { mode: istio }").config.authorization).toMatchObject({
      default: "allow",
      pathNormalization: "BASE",
    });
    expect(load("authorization: { mode: istio, default: deny }").config.authorization.default).toBe("deny");
  });
});

it("reads every key that this version builds", () => {
  const { config, warnings } = load(
    `
workload: { namespace: shop, labels: { app: orders, "1": "2" } }
identity:
  files: { svid: svid.pem, key: /keys/svid.key, bundles: { example.org: bundle.pem, partner.org: ../partner.json } }
trustDomainAliases: [old.example.org]
inbound:
  - { name: web, listen: "0.0.0.0:15006", app: "unix:///run/app.sock", port: 80, protocol: http, mtls: permissive, svid: { hint: in }, appSource: 127.0.0.6, xfcc: append_forward, upgrades: [WebSocket, foo] }
outbound:
  - { name: payments, listen: "[::1]:9001", to: ["payments.shop:15006", "[2001:db8::1]:1"], identity: [spiffe://example.org/ns/shop/sa/payments, "spiffe://example.org/ns/shop/sa/*"], svid: { hint: out }, authority: payments.shop, origins: ["https://a.example"], browser: allow, protocol: http1, allow: { uids: [0, 1001] } }
policies: [policies/, extra.yaml]
authorization: { mode: strict, default: allow, pathNormalization: NONE, rootNamespace: root }
trustedProxies: [10.0.0.0/8, "::1"]
audit:
  sinks: [{ file: { path: audit.jsonl, rotate: { size: 1MiB, age: 1h, keep: 3 }, fsync: never } }, { stdout: {} }]
  onFailure: drop
  queue: 100
  refusals: { queue: 7 }
admin: { listen: "unix:///run/countersign/admin.sock" }
health: { listen: "0.0.0.0:15021" }
metrics: { listen: "127.0.0.1:0" }
workers: 1
limits: { connections: 1, headBytes: 1KiB, headFields: 2, requestLine: 512B }
timeouts: { handshake: 1s, classify: 250ms, connect: 3s, head: 4s, firstByte: 0s, idle: 6m, tunnelIdle: 7h, connectionAge: 8s }
drain: { timeout: 9s }
log: { level: debug }
`,
    {},
  );
  expect(warnings).toEqual([]);
  expect(config.workload).toEqual({
    namespace: "shop",
    labels: new Map([
      ["app", "orders"],
      ["1", "2"],
    ]),
  });
  expect(config.identity).toEqual({
    kind: "files",
    svid: "/etc/countersign/svid.pem",
    key: "/keys/svid.key",
    bundles: new Map([
      ["example.org", "/etc/countersign/bundle.pem"],
      ["partner.org", "/etc/partner.json"],
    ]),
    federatesWith: [],
    stateFolder: undefined,
  });
  expect(config.inbound[0]).toMatchObject({
    app: { kind: "unix", path: "/run/app.sock" },
    appPort: 80,
    mtls: "permissive",
    svidHint: "in",
    appSource: "127.0.0.6",
    xfcc: "append_forward",
    proxyProtocol: false,
    upgrades: ["websocket", "foo"],
  });
  expect(config.outbound[0]).toMatchObject({
    listen: { kind: "tcp", host: "::1", port: 9001 },
    to: [
      { host: "payments.shop", port: 15_006 },
      { host: "2001:db8::1", port: 1 },
    ],
    svidHint: "out",
    authority: "payments.shop",
    browser: "allow",
    origins: ["https://a.example"],
    allowUids: [0, 1001],
  });
  expect(config.outbound[0]?.identity[1]).toEqual({
    pattern: "spiffe://example.org/ns/shop/sa/*",
    trustDomain: "example.org",
    exact: undefined,
    prefix: "spiffe://example.org/ns/shop/sa/",
  });
  expect(config.policies).toEqual([
    { path: "/etc/countersign/policies", at: { file: "/etc/countersign/c.yaml", line: 10, column: 12 } },
    { path: "/etc/countersign/extra.yaml", at: { file: "/etc/countersign/c.yaml", line: 10, column: 23 } },
  ]);
  expect(config.audit).toEqual({
    sinks: [
      {
        kind: "file",
        path: "/etc/countersign/audit.jsonl",
        rotate: { sizeBytes: 2 ** 20, ageMs: 3_600_000, keep: 3 },
        fsync: "never",
      },
      { kind: "stdout" },
    ],
    onFailure: "drop",
    queue: 100,
    refusalsQueue: 7,
  });
  expect(config.admin).toEqual({ kind: "unix", path: "/run/countersign/admin.sock" });
  expect(config.metrics).toEqual({ kind: "tcp", host: "127.0.0.1", port: 0 });
  expect(config.limits.requestLine).toBe(512);
  expect(config.timeouts).toMatchObject({ classify: 250, firstByte: 0, idle: 360_000, tunnelIdle: 25_200_000 });
  expect(config.drainTimeoutMs).toBe(9000);
  // it is plain data: worker threads get it as a message
  expect(structuredClone(config)).toStrictEqual(config);
});

it.each([
  ["workers: 3", 3],
  ["workers: auto", 0],
  ["workers: ${N}", 8],
])("%s asks for %i threads, 0 being one a core", (text, workers) => {
  expect(load(text, { ...agent, N: "8" }).config.workers).toBe(workers);
});

describe("what this version does not build is refused, never ignored", () => {
  it.each([
    [inbound("xff: append")],
    ["xff: append"],
    ["audit: { sample: { allow: 0.1 } }"],
    ["audit: { sinks: [{ file: { path: a.jsonl, fsync: always } }] }"],
    ["audit: { sinks: [{ otlp: { url: x } }] }"],
    ["audit: { sinks: [{ webhook: { url: x } }] }"],
    ["admin: { listen: '127.0.0.1:15000' }"],
  ])("%s", (text) => {
    const found = problems(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^c\.yaml:\d+:\d+: E_CONFIG_UNSUPPORTED .*; fix: /);
  });
});

describe("errors name the place and the fix", () => {
  it.each([
    ["inbuond: []", 'c.yaml:1:1: E_CONFIG_KEY the file has no key "inbuond"; fix: did you mean "inbound"?'],
    ["log: { lvl: info }", 'c.yaml:1:8: E_CONFIG_KEY log has no key "lvl"; fix: remove it; known here: level'],
    ["drain_timeout: 5s", /did you mean "drain"\?/],
    ["foo: 5s", /E_CONFIG_KEY .*known here: workload, identity/],
    ["trust_domain_aliases: []", /did you mean "trustDomainAliases"\?/],
    ["<<: { a: 1 }", /no merge keys/],
    ["# all gone", "c.yaml:1:1: E_CONFIG_VALUE the file is empty; fix: write a mapping"],
    ["[]", "c.yaml:1:1: E_CONFIG_VALUE the file is a list, not a mapping"],
    ["audit:", "c.yaml:1:7: E_CONFIG_VALUE audit has no value; fix: write a mapping, or remove the key"],
    ["log: { level: warning }", 'c.yaml:1:15: E_CONFIG_VALUE log.level is "warning"; fix: did you mean "warn"?'],
    [
      "drain: { timeout: 30 }",
      "c.yaml:1:19: E_CONFIG_VALUE drain.timeout has no unit; fix: write a time span with its unit: 250ms, 5s, 5m or 1h",
    ],
    ["drain: { timeout: 1.5s }", /drain.timeout "1.5s" is not a time span/],
    ["timeouts: { handshake: 0s }", /timeouts.handshake "0s" is out of range; fix: use 1ms to 87600h/],
    ["limits: { headBytes: 60KB }", /limits.headBytes "60KB" is not a size/],
    ["limits: { headBytes: 1GiB }", /out of range; fix: use 1KiB to 1MiB/],
    ["limits: { http2: { pings: { burst: 0 } } }", /limits.http2.pings.burst is not between 1 and 1000000/],
    ["limits: { http2: { resets: { perSecond: 0 } } }", /limits.http2.resets.perSecond is not between 1 and 1000000/],
    ["limits: { http2: { resets: 10 } }", /limits.http2.resets .*mapping/],
    ["limits: { http2: { continuations: 0 } }", /limits.http2.continuations is not between 1 and 10000/],
    ["limits: { http2: { headerTable: 65KiB } }", /limits.http2.headerTable .*out of range/],
    ["limits: { http2: { stalledStreams: { for: 999ms } } }", /limits.http2.stalledStreams.for .*out of range/],
    ["limits: { http2: { ping: {} } }", /did you mean "pings"/],
    ["limits: { connections: 0 }", /limits.connections is not between 1 and 1000000/],
    ["limits: { connections: 0100 }", /limits.connections is not a plain whole number/],
    ["limits: { connections: 1e3 }", /limits.connections is not a plain whole number/],
    ["limits: { connections: '10' }", /limits.connections is a text, not a number/],
    ["workload: { labels: {} }", /E_CONFIG_MISSING workload.namespace is missing; fix: add it/],
    [
      "workload: { namespace: shop, labels: { v: 1 } }",
      /workload.labels.v is a number, not a text; fix: put it in quotes/,
    ],
    ["policies: [p]", /c.yaml:1:11: E_CONFIG_MISSING policies are given, but workload/],
    ["trustDomainAliases: [spiffe://a]", /trustDomainAliases\[0\] "spiffe:\/\/a" starts with spiffe:\/\//],
    ["trustDomainAliases: [Example.org]", /"Example.org" has a character outside/],
    ["trustDomainAliases: [a/b]", /"a\/b" has a slash/],
    ["trustedProxies: [10.0.0.0/33]", /has a prefix that is not 0 to 32/],
    ["trustedProxies: [proxy.example]", /is no IP address or CIDR/],
    ["audit: { sinks: [] }", /audit.sinks needs at least 1 item/],
    ["audit: { sinks: [{}] }", /audit.sinks\[0\] names no audit sink; fix: write exactly one of file, stdout$/],
    ["audit: { sinks: [{ file: { path: a }, stdout: {} }] }", /names more than one audit sink/],
    [
      "audit: { sinks: [{ file: { path: a } }, { file: { path: ./a } }] }",
      /E_CONFIG_DUPLICATE the audit file is already used at line 1/,
    ],
    ["identity: { workloadApi: {}, files: {} }", /identity names more than one identity source/],
    [
      "identity: { workloadApi: { address: unix://tmp/x } }",
      /has a path that is not absolute; fix: write three slashes: unix:\/\/\/absolute\/path/,
    ],
    ["identity: { workloadApi: { address: 'tcp://10.0.0.1:8081' } }", /is not a loopback IP address/],
    ["identity: { workloadApi: { address: 'tcp://localhost:8081' } }", /is not a loopback IP address/],
    ["identity: { workloadApi: { address: /run/agent.sock } }", /is neither unix:\/\/\/path nor tcp:\/\/IP:port/],
    ["identity: { files: { svid: a, key: b, bundles: {} } }", /bundles needs at least 1 entry/],
    ["identity: { files: { svid: a, key: b, bundles: { Bad: c } } }", /bundles key "Bad" has a character/],
    ["health: { listen: 15021 }", /health.listen is a number, not an address/],
    ["health: { listen: ':15021' }", /has no host; fix: write 0.0.0.0:15021/],
    ["health: { listen: 'localhost:1' }", /listens on a name/],
    ["health: { listen: '::1' }", /is an IPv6 address without port; fix: write it in brackets/],
    ["health: { listen: '127.0.0.1' }", /has no port/],
    ["health: { listen: '127.0.0.1:65536' }", /has a port that is not between 0 and 65535/],
    ["health: { listen: '127.0.0.256:1' }", /has an IPv4 address/],
    [`admin: { listen: 'unix:///${"x".repeat(107)}' }`, /longer than 107 bytes/],
    [inbound("port: 80"), /inbound\[0\].port is for Unix sockets only/],
    [inbound("upgrades: [h2c]"), /would open a way around policy/],
    [inbound("upgrades: [TLS/1.0]"), /would open a way around policy/],
    [inbound("appSource: localhost"), /is no IP address/],
    ["inbound: [{ listen: '127.0.0.1:1' }]", /c.yaml:1:11: E_CONFIG_MISSING inbound\[0\].app is missing/],
    ["inbound: [{ listen: '127.0.0.1:1', app: '127.0.0.1:1' }]", /app is the listener itself/],
    ["inbound: [{ listen: '127.0.0.1:1', app: '127.0.0.1:0' }]", /has a port that is not between 1 and 65535/],
    [outbound("origins: [https://a.example/]"), /is more than an origin/],
    [outbound("allow: { uids: [] }"), /needs at least 1 item/],
    ["outbound: [{ listen: '127.0.0.1:1', to: ['a:1'] }]", /E_CONFIG_MISSING outbound\[0\].identity is missing/],
    ["outbound: [{ listen: '127.0.0.1:1', to: [], identity: spiffe://a/b }]", /outbound\[0\].to needs at least 1 item/],
    ["outbound: [{ listen: '127.0.0.1:1', to: ['a:1'], identity: [] }]", /identity needs at least 1 item/],
    [
      "outbound: [{ listen: '0.0.0.0:1', to: ['a:1'], identity: spiffe://a/b }]",
      /c.yaml:1:22: E_CONFIG_EXPOSED outbound\[0\].listen/,
    ],
    ["outbound: [{ listen: '[::]:1', to: ['a:1'], identity: spiffe://a/b }]", /E_CONFIG_EXPOSED/],
  ])("%s", (text, expected) => {
    const found = problems(text);
    expect(found).toHaveLength(1);
    if (typeof expected === "string") expect(found[0]).toBe(expected);
    else expect(found[0]).toMatch(expected);
  });

  it.each([
    ["spiffe://example.org", /has no path/],
    ["spiffe://example.org/*/a", /has a \* that is not its whole last segment/],
    ["spiffe://example.org/ns/shop/sa/pay*", /has a \* that is not its whole last segment/],
    ["spiffe://*/ns/shop", /has a \* that is not its whole last segment/],
    ["spiffe://*/*", /has a \* that is not its whole last segment/],
    ["*", /has a \* that is not its whole last segment/],
    ["example.org/a", /does not start with spiffe:\/\//],
    ["spiffe://example.org/a/", /ends with a slash/],
  ])("refuses %s as expected identity", (identity, expected) => {
    expect(problems(`outbound: [{ listen: "unix:///a", to: ["a:1"], identity: "${identity}" }]`)).toEqual([
      expect.stringMatching(expected),
    ]);
  });

  it("reports names and addresses that are used twice", () => {
    const found = problems(`
inbound:
  - { name: a, listen: "127.0.0.1:1", app: "127.0.0.1:8080" }
  - { name: a, listen: "[::1]:1", app: "127.0.0.1:8080" }
outbound:
  - { listen: "[0:0::1]:1", to: ["a:1"], identity: spiffe://a/b }
health: { listen: "127.0.0.1:1" }
admin: { listen: "unix:///s" }
metrics: { listen: "unix:///s" }
`);
    expect(found).toEqual([
      expect.stringContaining("c.yaml:4:13: E_CONFIG_DUPLICATE the listener name is already used at line 3"),
      expect.stringContaining("c.yaml:6:15: E_CONFIG_DUPLICATE the listen address is already used at line 4"),
      expect.stringContaining("c.yaml:7:19: E_CONFIG_DUPLICATE the listen address is already used at line 3"),
      expect.stringContaining("E_CONFIG_DUPLICATE the listen address is already used at line"),
    ]);
  });

  it("lets several listeners ask for a free port, if they have names", () => {
    const two = (names: readonly [string, string]) =>
      problems(
        names
          .map((name, i) => `${i === 0 ? "inbound:\n" : ""}- { ${name}listen: "127.0.0.1:0", app: "127.0.0.1:80" }`)
          .join("\n"),
      );
    expect(two(["name: a, ", "name: b, "])).toEqual([]);
    expect(two(["", ""])).toEqual([expect.stringContaining("the listener name is already used")]);
  });

  it("reports everything at once, in the file's order", () => {
    const found = problems("log: { level: loud }\ninbound: [{ listen: x, nmae: y }]\nworkers: 0\nfoo: 1");
    expect(found.map((line) => line.split(" ", 2).join(" "))).toEqual([
      "c.yaml:1:15: E_CONFIG_VALUE",
      "c.yaml:2:11: E_CONFIG_MISSING",
      "c.yaml:2:21: E_CONFIG_VALUE",
      "c.yaml:2:24: E_CONFIG_KEY",
      "c.yaml:3:10: E_CONFIG_VALUE",
      "c.yaml:4:1: E_CONFIG_KEY",
    ]);
  });
});

describe("environment", () => {
  it("fills in texts, numbers and booleans", () => {
    const { config } = load(
      'health: { listen: "127.0.0.1:${PORT}" }\nlimits: { connections: "${MAX}" }\nlog: { level: "${LEVEL:-debug}" }',
      { ...agent, PORT: "8081", MAX: "12" },
    );
    expect(config.health).toEqual({ kind: "tcp", host: "127.0.0.1", port: 8081 });
    expect(config.limits.connections).toBe(12);
    expect(config.logLevel).toBe("debug");
  });

  it("names a missing variable", () => {
    expect(problems("log: { level: '${LEVEL}' }")).toEqual([
      "c.yaml:1:15: E_CONFIG_ENV needs the environment variable LEVEL, which is not set; fix: set LEVEL, or write ${LEVEL:-default}",
    ]);
  });

  it.each([
    "log: { level: '${SECRET}' }",
    "health: { listen: '${SECRET}' }",
    "drain: { timeout: '${SECRET}' }",
    "limits: { connections: '${SECRET}' }",
    "trustDomainAliases: ['${SECRET}']",
    "trustedProxies: ['${SECRET}']",
    "workload: { namespace: a }\npolicies: ['https://${SECRET}']",
    "identity: { workloadApi: { address: '${SECRET}' } }",
    outbound("authority: '${SECRET}', origins: ['${SECRET}']"),
    inbound("upgrades: ['${SECRET}'], xfcc: '${SECRET}'"),
    "outbound: [{ listen: 'unix:///a', to: ['${SECRET}'], identity: '${SECRET}' }]",
  ])("never shows what a variable holds: %s", (text) => {
    const found = problems(text, { ...agent, SECRET: "hunter2 hunter2" });
    expect(found.length).toBeGreaterThan(0);
    expect(found.join()).not.toContain("hunter2");
  });

  it("takes SPIFFE_ENDPOINT_SOCKET when the file names no source, and judges it without showing it", () => {
    expect(problems("{}", {})).toEqual([
      expect.stringMatching(/E_CONFIG_MISSING no identity source.*SPIFFE_ENDPOINT_SOCKET is not set/),
    ]);
    const [found] = problems("identity: { workloadApi: { hint: a } }", { SPIFFE_ENDPOINT_SOCKET: "unix://tmp/agent" });
    expect(found).toMatch(
      /E_CONFIG_ENV the environment variable SPIFFE_ENDPOINT_SOCKET has a path that is not absolute; fix: write three slashes/,
    );
    expect(found).not.toContain("tmp/agent");
  });
});

describe("warnings", () => {
  const codes = (text: string): string[] => load(text).warnings.map(({ code }) => code);

  it.each([
    [outbound("").replace("a:1", "db:3306"), ["W_CONFIG_PROTOCOL"]],
    [outbound("protocol: tcp").replace("a:1", "db:3306"), []],
    [outbound(""), []],
    [inbound(""), ["W_CONFIG_NO_POLICIES"]],
    [`${inbound("")}\nauthorization: { default: allow }`, []],
    [`${inbound("")}\nworkload: { namespace: a }\npolicies: [p]`, []],
  ])("%s: %j", (text, expected) => {
    expect(codes(text)).toEqual(expected);
  });
});

describe("loadSidecarConfig", () => {
  it("reads a file, and says so when it cannot", async () => {
    const folder = mkdtempSync(join(tmpdir(), "countersign-config-"));
    try {
      const file = join(folder, "c.yaml");
      await expect(loadSidecarConfig(file, agent)).rejects.toThrow(`${file}: E_CONFIG_FILE does not exist`);
      await expect(loadSidecarConfig(folder, agent)).rejects.toThrow("E_CONFIG_FILE is not a regular file");
      writeFileSync(file, "log: { level: debug }");
      await expect(loadSidecarConfig(file, agent)).resolves.toMatchObject({ config: { logLevel: "debug", file } });
      writeFileSync(file, Buffer.from([0x61, 0xff]));
      await expect(loadSidecarConfig(file, agent)).rejects.toThrow("is not UTF-8 text");
      writeFileSync(file, Buffer.alloc(1024 * 1024 + 1, 0x20));
      await expect(loadSidecarConfig(file, agent)).rejects.toThrow("is larger than 1048576 bytes");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

it("sends a PROXY header only where a connection is one call", () => {
  expect(problems(inbound("protocol: http, sendProxyProtocol: v2"))).toEqual([
    "c.yaml:1:98: E_CONFIG_VALUE inbound[0].sendProxyProtocol is for connections that are one call each; fix: add protocol: tcp",
  ]);
  expect(load(inbound("protocol: tcp, sendProxyProtocol: v2")).config.inbound[0]?.sendProxyProtocol).toBe("v2");
});

describe("an egress proxy", () => {
  const egress = (keys: string): string => `outbound: [{ name: egress, listen: "127.0.0.1:3128", ${keys} }]`;

  it("is an outbound listener with forward, whose hosts are found by any spelling", () => {
    const { config } = load(
      egress(`forward: { hosts: { "Payments.shop.:15006": "spiffe://a/ns/shop/sa/payments", "[0:0::1]:9": ["spiffe://a/x/*", "spiffe://b/y"] },
        addresses: [10.0.0.0/8], ports: [443, 8443] }, allow: { uids: [1001] }, origins: ["https://x.example"]`),
    );
    expect(config.outbound).toEqual([]);
    const [proxy] = config.forward;
    expect(proxy).toMatchObject({
      name: "egress",
      allowUids: [1001],
      origins: ["https://x.example"],
      browser: "refuse",
      svidHint: "",
      forward: { addresses: ["10.0.0.0/8"], ports: [443, 8443] },
    });
    expect(
      [...(proxy?.forward.hosts ?? [])].map(([key, { identity }]) => [key, identity.map(({ pattern }) => pattern)]),
    ).toEqual([
      ["payments.shop 15006", ["spiffe://a/ns/shop/sa/payments"]],
      ["::1 9", ["spiffe://a/x/*", "spiffe://b/y"]],
    ]);
  });

  it("reaches port 443 and no closed address by default", () => {
    expect(load(egress("forward: {}")).config.forward[0]?.forward).toEqual({
      hosts: new Map(),
      addresses: [],
      ports: [443],
    });
  });

  it("keeps its place among the others", () => {
    const { config } = load(`outbound:
  - { name: a, listen: "127.0.0.1:1", to: ["b:2"], identity: "spiffe://a/b" }
  - { name: egress, listen: "127.0.0.1:3128", forward: {} }
  - { name: c, listen: "127.0.0.1:3", to: ["b:2"], identity: "spiffe://a/b" }`);
    expect(config.outbound.map(({ name }) => name)).toEqual(["a", "c"]);
    expect(config.outboundAsWritten.map(({ name }) => name)).toEqual(["a", "egress", "c"]);
  });

  it.each([
    ["forward: { ports: [0] }", /E_CONFIG_VALUE outbound\[0\]\.forward\.ports\[0\]/],
    ["forward: { addresses: [10.0.0.0/33] }", /E_CONFIG_VALUE outbound\[0\]\.forward\.addresses\[0\] .*0 to 32/],
    [
      'forward: { hosts: { "payments.shop": "spiffe://a/b" } }',
      /E_CONFIG_VALUE outbound\[0\]\.forward\.hosts key "payments.shop" has no port/,
    ],
    ['forward: { hosts: { "p:1": "spiffe://*/b" } }', /E_CONFIG_VALUE outbound\[0\]\.forward\.hosts/],
    ['forward: { hosts: { "p:1": "spiffe://a/b", "P.:1": "spiffe://a/c" } }', /names P\.:1 twice/],
    ['forward: {}, to: ["b:2"]', /E_CONFIG_KEY outbound\[0\] has no key "to"/],
    ["forward: { prots: [443] }", /did you mean "ports"\?/],
  ])("%s is an error", (keys, expected) => {
    const found = problems(egress(keys));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  it("without policies is warned about: it lets nothing pass", () => {
    const { warnings } = load(egress("forward: {}"));
    expect(warnings.map(({ code, message }) => [code, message])).toEqual([
      ["W_CONFIG_NO_POLICIES", "there are no policies: every call through the egress proxy is denied"],
    ]);
  });

  it("beyond loopback needs allow.uids", () => {
    expect(problems('outbound: [{ listen: "0.0.0.0:3128", forward: {} }]')[0]).toContain("E_CONFIG_EXPOSED");
  });
});
