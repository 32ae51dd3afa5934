import { isClosedToProviders, isFixedInChecks } from "../core/provider-headers.ts";
import type { Invalid } from "./problems.ts";
import type { ExtensionProviderConfig, HeaderPattern, PolicyModeSetting } from "./sidecar-config.ts";
import { hostPort, isLoopback } from "./yaml-addresses.ts";
import { list, mapOf, object, optional, required, withDefault } from "./yaml-collections.ts";
import { boolean, duration, integer, parsed, Refusal, text } from "./yaml-scalars.ts";
import { placeOf, type ReadContext, refine, type Shape } from "./yaml-shape.ts";

/** RFC 9110 section 5.6.2, lower-cased. */
const NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;
/** The host that answers: Istio writes `[<namespace>/]<host>`; the namespace only chooses among Istio's own services. */
const service = parsed("a host", "ext-authz.shop.svc.cluster.local", (value) => {
  const host = value.slice(value.lastIndexOf("/") + 1);
  const address = hostPort(host.includes(":") && !host.startsWith("[") ? `[${host}]:1` : `${host}:1`, 1);
  return address instanceof Refusal ? address : address.host;
});

const status = parsed("a status", '"403"', (value) => {
  if (!/^[45][0-9]{2}$/.test(value)) return new Refusal("is no status of 400 to 599");
  return Number(value);
});

/** A header name, with one star at its start or end for any text there. */
const headerPattern = parsed("a header name", "x-tenant or x-auth-*", (value): HeaderPattern | Refusal => {
  const name = value.toLowerCase();
  if (name === "*") return { kind: "prefix", text: "" };
  const kind = name.startsWith("*") ? "suffix" : name.endsWith("*") ? "prefix" : "exact";
  const literal = kind === "suffix" ? name.slice(1) : kind === "prefix" ? name.slice(0, -1) : name;
  if (!NAME.test(literal) || literal.includes("*")) return new Refusal("is no header name");
  return { kind, text: literal };
});

const upstreamHeader = refine(headerPattern, (pattern, node, context): HeaderPattern | Invalid => {
  if (pattern.kind !== "exact" || !isClosedToProviders(pattern.text)) return pattern;
  const message = `${context.path} is a header that no provider may set`;
  return context.problems.error("E_CONFIG_VALUE", node.at, message, "remove it");
});

const patterns = (description: string, item: Shape<HeaderPattern> = headerPattern) =>
  withDefault(list(item, { max: 64 }), [], description);

/** What a gRPC server takes of a message unless it is told otherwise. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

const bodyInCheck = object({
  maxRequestBytes: required(
    integer({ min: 1, max: MAX_BODY_BYTES }),
    "So much of a body is held, in bytes, until the provider has answered; a longer one is refused with 413.",
  ),
  allowPartialMessage: withDefault(
    boolean(),
    false,
    "Instead of 413: the provider gets the first maxRequestBytes of a longer body.",
  ),
  packAsBytes: withDefault(
    boolean(),
    false,
    "gRPC: the body is sent as bytes (raw_body) instead of as text. HTTP: bodies always are bytes.",
  ),
});

const portNumber = integer({ min: 1, max: 65_535 });
/** MeshConfig takes a number as text too, and Istio's own examples write the port so. */
const port: Shape<number> = {
  schema: { anyOf: [portNumber.schema, { type: "string", pattern: "^[1-9][0-9]{0,4}$" }] },
  read: (node, context) => portNumber.read(node.kind === "text" ? { ...node, expanded: true } : node, context),
};

const answering = {
  service: required(
    service,
    "The host that answers. In strict mode on this machine: a local service, or an outbound listener.",
  ),
  port: required(port, "Its port."),
  timeout: withDefault(
    duration({ min: 1, max: 600_000 }),
    "5s",
    "How long an answer is waited for; without one the call is denied.",
  ),
  failOpen: withDefault(boolean(), false, "Only false: without a valid answer the call is denied."),
  statusOnError: withDefault(status, "403", "The status of a call that is denied for want of an answer."),
  includeRequestBodyInCheck: optional(bodyInCheck, "The provider gets the request's body as well."),
  clearRouteCache: optional(boolean(), "Without meaning here: there is one route."),
};

const http = object({
  ...answering,
  pathPrefix: optional(
    parsed("a path", "/check", (value) =>
      /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*$/.test(value) ? value : new Refusal("is no path"),
    ),
    "What stands before the request's own path when the provider is asked.",
  ),
  includeRequestHeadersInCheck: patterns(
    "Headers of the request that the provider gets, besides Host and Authorization.",
  ),
  includeHeadersInCheck: patterns("The older name of includeRequestHeadersInCheck."),
  includeAdditionalHeadersInCheck: withDefault(
    mapOf(
      (key, at, context): string | Invalid => {
        const lower = key.toLowerCase();
        if (NAME.test(lower) && !isFixedInChecks(lower)) return lower;
        return context.problems.error("E_CONFIG_VALUE", at, `${context.path} has a key that is no header name to set`);
      },
      text({ max: 4096 }),
    ),
    {},
    "Headers that the provider always gets, with their values.",
  ),
  headersToUpstreamOnAllow: patterns("Headers of the provider's answer that the app gets.", upstreamHeader),
  headersToDownstreamOnDeny: optional(
    list(headerPattern, { max: 64 }),
    "Headers of the provider's answer that a denied caller gets. Default: all.",
  ),
  headersToDownstreamOnAllow: patterns("Headers of the provider's answer that are added to the app's response."),
});

const item = object({
  name: required(text({ max: 253 }), "What `provider.name` of a CUSTOM policy says."),
  envoyExtAuthzHttp: optional(http, "Asked by HTTP/1.1."),
  envoyExtAuthzGrpc: optional(object(answering), "Asked by Envoy's gRPC protocol (envoy.service.auth.v3)."),
});

/** One `extensionProviders` item, as Istio's MeshConfig writes it. */
export const extensionProviderShape: Shape<ExtensionProviderConfig> = refine(
  item,
  ({ name, envoyExtAuthzHttp, envoyExtAuthzGrpc }, node, context): ExtensionProviderConfig | Invalid => {
    context.problems.claim("extension provider name", name, placeOf(node, "name"), "give each provider its own name");
    const asked = envoyExtAuthzHttp ?? envoyExtAuthzGrpc;
    if (asked === undefined || (envoyExtAuthzHttp !== undefined && envoyExtAuthzGrpc !== undefined)) {
      const message = `${context.path} names not exactly one protocol`;
      const fix = "write one of envoyExtAuthzHttp, envoyExtAuthzGrpc";
      return context.problems.error("E_CONFIG_VALUE", node.at, message, fix);
    }
    if (asked.failOpen) {
      const message = `${context.path} would let calls through when the provider fails`;
      return context.problems.error("E_CONFIG_UNSUPPORTED", node.at, message, "remove failOpen");
    }
    const body = asked.includeRequestBodyInCheck;
    const shared = {
      name,
      host: asked.service,
      port: asked.port,
      timeoutMs: asked.timeout,
      statusOnError: asked.statusOnError,
      body: body && {
        maxBytes: body.maxRequestBytes,
        allowPartial: body.allowPartialMessage,
        asBytes: body.packAsBytes,
      },
      at: node.at,
    };
    if (envoyExtAuthzHttp === undefined) return { kind: "grpc", ...shared };
    const {
      pathPrefix = "",
      includeRequestHeadersInCheck,
      includeHeadersInCheck,
      includeAdditionalHeadersInCheck,
      headersToUpstreamOnAllow,
      headersToDownstreamOnDeny,
      headersToDownstreamOnAllow,
    } = envoyExtAuthzHttp;
    return {
      kind: "http",
      ...shared,
      pathPrefix: pathPrefix.endsWith("/") ? pathPrefix.slice(0, -1) : pathPrefix,
      requestHeaders: [...includeRequestHeadersInCheck, ...includeHeadersInCheck],
      addedHeaders: [...includeAdditionalHeadersInCheck],
      upstreamOnAllow: headersToUpstreamOnAllow,
      downstreamOnDeny: headersToDownstreamOnDeny,
      downstreamOnAllow: headersToDownstreamOnAllow,
    };
  },
);

/** A check travels in plaintext and its answer decides: in strict mode it stays on this machine, where an outbound listener can carry it
 *  on by mutual TLS. */
export function checkProviderHosts(
  providers: readonly ExtensionProviderConfig[],
  mode: PolicyModeSetting,
  context: ReadContext,
): void {
  for (const { name, host, at } of providers) {
    if (host === "localhost" || isLoopback(host)) continue;
    const message = `the provider ${JSON.stringify(name)} is asked in plaintext, and ${JSON.stringify(host)} is not this machine`;
    const fix = "add an outbound listener that leads to it, and write that listener's address here";
    if (mode === "strict") context.problems.error("E_CONFIG_EXPOSED", at, message, fix);
    else context.problems.warn("W_CONFIG_PLAINTEXT_PROVIDER", at, message, fix);
  }
}
