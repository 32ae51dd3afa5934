import { describe, expect, it } from "vitest";
import { CountersignErrors, formatError } from "../core/errors.ts";
import { parseSidecarConfig } from "./load-sidecar-config.ts";

const BASE = "identity: { files: { svid: a, key: b, bundles: { example.org: c } } }\n";

function read(yaml: string): ReturnType<typeof parseSidecarConfig> {
  return parseSidecarConfig(BASE + yaml, "/etc/cs/countersign.yaml", {});
}

function problems(yaml: string): string {
  try {
    read(yaml);
    return "";
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    return error.errors.map(formatError).join("\n");
  }
}

const provider = (body: string): string => `extensionProviders: [{ name: p, ${body} }]`;
const http = (more = ""): string => provider(`envoyExtAuthzHttp: { service: 127.0.0.1, port: 8000${more} }`);

describe("extensionProviders", () => {
  it("are read as Istio's MeshConfig writes them", () => {
    const { config, warnings } = read(`
authorization: { mode: istio }
extensionProviders:
  - name: sample-ext-authz-http
    envoyExtAuthzHttp:
      service: foo/ext-authz.foo.svc.cluster.local
      port: "8000"
      timeout: 1s
      statusOnError: "503"
      includeRequestBodyInCheck: { maxRequestBytes: 8192, allowPartialMessage: true }
      pathPrefix: /check/
      includeHeadersInCheck: [X-Ext-Authz]
      includeRequestHeadersInCheck: ["x-a-*", "*-id"]
      includeAdditionalHeadersInCheck: { X-Mesh: countersign }
      headersToUpstreamOnAllow: [x-user]
      headersToDownstreamOnDeny: [content-type, set-cookie]
      headersToDownstreamOnAllow: [set-cookie]
  - name: sample-ext-authz-grpc
    envoyExtAuthzGrpc: { service: "::1", port: 9000, includeRequestBodyInCheck: { maxRequestBytes: 1, packAsBytes: true } }
  - name: no-body
    envoyExtAuthzGrpc: { service: "::1", port: 9001 }`);
    expect(config.extensionProviders).toEqual([
      expect.objectContaining({
        kind: "http",
        name: "sample-ext-authz-http",
        host: "ext-authz.foo.svc.cluster.local",
        port: 8000,
        timeoutMs: 1000,
        statusOnError: 503,
        body: { maxBytes: 8192, allowPartial: true, asBytes: false },
        pathPrefix: "/check",
        requestHeaders: [
          { kind: "prefix", text: "x-a-" },
          { kind: "suffix", text: "-id" },
          { kind: "exact", text: "x-ext-authz" },
        ],
        addedHeaders: [["x-mesh", "countersign"]],
        upstreamOnAllow: [{ kind: "exact", text: "x-user" }],
        downstreamOnDeny: [
          { kind: "exact", text: "content-type" },
          { kind: "exact", text: "set-cookie" },
        ],
      }),
      expect.objectContaining({
        kind: "grpc",
        host: "::1",
        port: 9000,
        timeoutMs: 5000,
        statusOnError: 403,
        body: { maxBytes: 1, allowPartial: false, asBytes: true },
      }),
      expect.objectContaining({ name: "no-body", body: undefined }),
    ]);
    expect(warnings.map(({ code }) => code)).toContain("W_CONFIG_PLAINTEXT_PROVIDER");
  });

  it.each([
    ["failOpen", http(", failOpen: true"), /E_CONFIG_UNSUPPORTED extensionProviders\[0\] would let calls through/],
    ["a body of any length", http(", includeRequestBodyInCheck: {}"), /E_CONFIG_MISSING .*maxRequestBytes is missing/],
    [
      "a body of no length",
      http(", includeRequestBodyInCheck: { maxRequestBytes: 0 }"),
      /maxRequestBytes is not between 1 and 4194304/,
    ],
    [
      "a body beyond 4 MiB",
      http(", includeRequestBodyInCheck: { maxRequestBytes: 4194305 }"),
      /maxRequestBytes is not between 1 and 4194304/,
    ],
    [
      "a key that bodies do not have",
      http(", includeRequestBodyInCheck: { maxRequestBytes: 1, failOpen: true }"),
      /E_CONFIG_KEY/,
    ],
    ["no protocol", provider(""), /names not exactly one protocol/],
    [
      "two protocols",
      provider(
        "envoyExtAuthzHttp: { service: localhost, port: 1 }, envoyExtAuthzGrpc: { service: localhost, port: 1 }",
      ),
      /names not exactly one protocol/,
    ],
    [
      "one name twice",
      "extensionProviders: [{ name: p, envoyExtAuthzGrpc: { service: localhost, port: 1 } }, { name: p, envoyExtAuthzGrpc: { service: localhost, port: 2 } }]",
      /E_CONFIG_DUPLICATE/,
    ],
    [
      "plaintext beyond this machine in strict mode",
      provider("envoyExtAuthzGrpc: { service: authz.shop, port: 1 }"),
      /E_CONFIG_EXPOSED .*; fix: add an outbound listener/,
    ],
    ["a status that would be a success", http(', statusOnError: "200"'), /is no status of 400 to 599/],
    ["Host for the app", http(", headersToUpstreamOnAllow: [Host]"), /is a header that no provider may set/],
    [
      "our identity header for the app",
      http(", headersToUpstreamOnAllow: [x_forwarded_client_cert]"),
      /is a header that no provider may set/,
    ],
    ["Host for the provider", http(", includeAdditionalHeadersInCheck: { Host: a }"), /is no header name to set/],
    ["a star in the middle", http(", includeRequestHeadersInCheck: ['a*b']"), /is no header name/],
    ["a path with a query", http(", pathPrefix: '/a?b'"), /is no path/],
    ["a host with a path", provider("envoyExtAuthzGrpc: { service: 'a b', port: 1 }"), /host/],
    ["an unknown key", http(", allowAll: true"), /has no key "allowAll"/],
  ])("refuse %s", (_, yaml, problem) => {
    expect(problems(yaml)).toMatch(problem);
  });
});

it("requestAuthentication takes CIDRs and the path of a file", () => {
  const { config } = read("requestAuthentication: { addresses: [10.0.0.0/8], ca: ca.pem }");
  expect(config.requestAuthentication).toEqual({ addresses: ["10.0.0.0/8"], ca: "/etc/cs/ca.pem" });
  expect(problems("requestAuthentication: { addresses: [idp.internal] }")).toMatch(/is no IP address or CIDR/);
});
