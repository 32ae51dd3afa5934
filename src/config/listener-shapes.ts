import { isIP } from "node:net";
import { forwardShape } from "./forward-shape.ts";
import { inboundJwtSvid, outboundJwtSvid, readInboundJwtSvid, readOutboundJwtSvid } from "./jwt-svid-shape.ts";
import { upstream as upstreamShape } from "./limits-shape.ts";
import { type Invalid, invalid } from "./problems.ts";
import type { Address, ForwardConfig, InboundConfig, OutboundConfig } from "./sidecar-config.ts";
import { expectedIdentity } from "./spiffe-shapes.ts";
import { autoProtocolCaution } from "./well-known-ports.ts";
import {
  canonicalHost,
  dialAddress,
  formatAddress,
  hostAndPort,
  hostPort,
  isLoopback,
  listenAddress,
} from "./yaml-addresses.ts";
import { list, object, oneOrList, optional, required, unsupported, withDefault } from "./yaml-collections.ts";
import { boolean, choice, integer, parsed, Refusal, text } from "./yaml-scalars.ts";
import { badValue, placeOf, type ReadContext, refine, type Shape } from "./yaml-shape.ts";
import type { YamlNode } from "./yaml-tree.ts";

const MAX_UID = 2 ** 32 - 2;

/** An address to listen on that nothing else in the file listens on. Port 0 is never shared. */
export function ownListenAddress(): Shape<Address> {
  return refine(listenAddress(), (address, node, context) => {
    if (address.kind === "unix" || address.port !== 0) {
      context.problems.claim(
        "listen address",
        comparable(address),
        node.at,
        "give each listener an address of its own",
      );
    }
    return address;
  });
}

function comparable(address: Address): string {
  return address.kind === "unix" ? address.path : `${canonicalHost(address.host)} ${address.port}`;
}

const protocol = choice(["auto", "http", "http1", "http2", "tcp"]);
const PROTOCOL =
  "What the app speaks: http is HTTP/1.1 and HTTP/2, http1 and http2 one of them; tcp is any byte stream; auto finds out.";
const name = optional(text({ max: 128 }), "Its name in logs, metrics and audit. Default: the listen address.");
const svid = optional(
  object({ hint: required(text(), "The hint that the agent gives with the SVID.") }),
  "Which of our SVIDs is used. Default: the default one.",
);

const upgradeToken = parsed("an upgrade token", "websocket", (value) => {
  const token = value.toLowerCase();
  if (!/^[a-z0-9!#$%&'*+.^_`|~-]+(?:\/[a-z0-9.]+)?$/.test(token)) return new Refusal("is no token");
  if (/^(?:h2c?|https?|tls)(?:\/|$)/.test(token)) {
    return new Refusal("would open a way around policy", "list only protocols that are not HTTP or TLS");
  }
  return token;
});

const inbound = object({
  name,
  listen: required(ownListenAddress(), "Where other sidecars connect to: 0.0.0.0:15006."),
  app: required(dialAddress(), "Where the app listens: 127.0.0.1:8080 or unix:///path."),
  port: optional(integer({ min: 1, max: 65_535 }), "The port that policies compare, for an app behind a Unix socket."),
  protocol: withDefault(protocol, "auto", PROTOCOL),
  mtls: withDefault(
    choice(["strict", "permissive", "disable"]),
    "strict",
    "strict: only callers with an SVID. permissive: plaintext callers too, without identity. disable: plaintext only.",
  ),
  svid,
  appSource: optional(
    parsed("an IP address", "127.0.0.6", (value) => (isIP(value) === 0 ? new Refusal("is no IP address") : value)),
    "The local address from which the app is dialled, for apps that trust 127.0.0.1.",
  ),
  proxyProtocol: withDefault(
    boolean(),
    false,
    "Whether connections of trustedProxies begin with a PROXY protocol header (version 1 or 2), which says the client's address.",
  ),
  sendProxyProtocol: optional(
    choice(["v1", "v2"]),
    "The PROXY protocol header that tells the app the client's address. With protocol: tcp only. Default: none.",
  ),
  upstream: withDefault(upstreamShape, {}, "Limits and time limits of the connections to the app."),
  xfcc: withDefault(
    choice(["sanitize_set", "append_forward", "forward_only"]),
    "sanitize_set",
    "What becomes of x-forwarded-client-cert.",
  ),
  upgrades: withDefault(list(upgradeToken, { max: 16 }), ["websocket"], "Upgrade tokens that become tunnels."),
  tunnels: withDefault(
    list(text({ max: 128 }), { max: 64 }),
    [],
    "Names of other inbounds that sidecars may reach through this one: TCP that rides on connections to it.",
  ),
  xff: unsupported("Whether our own hop is added to x-forwarded-for."),
  jwtSvid: inboundJwtSvid,
});

/** One `inbound` item: what other sidecars may reach. */
export const inboundShape: Shape<InboundConfig> = refine(inbound, (value, node, context) => {
  const { listen, app, port, svid: chosen } = value;
  if (port !== undefined && app.kind === "tcp") {
    const fix = "remove port: the app's address has one";
    return context.problems.error(
      "E_CONFIG_VALUE",
      placeOf(node, "port"),
      `${context.path}.port is for Unix sockets only`,
      fix,
    );
  }
  if (value.sendProxyProtocol !== undefined && value.protocol !== "tcp") {
    const message = `${context.path}.sendProxyProtocol is for connections that are one call each`;
    return context.problems.error("E_CONFIG_VALUE", placeOf(node, "sendProxyProtocol"), message, "add protocol: tcp");
  }
  if (comparable(app) === comparable(listen)) {
    const message = `${context.path}.app is the listener itself`;
    return context.problems.error("E_CONFIG_VALUE", placeOf(node, "app"), message, "write the address of the app");
  }
  if (value.protocol === "auto" && app.kind === "tcp") cautionAuto(app.port, node, "app", context);
  const jwtSvid = readInboundJwtSvid(value.jwtSvid, value.protocol, node, context);
  if (jwtSvid === invalid) return invalid;
  return {
    name: claimName(value.name, listen, node, context),
    listen,
    app,
    appPort: app.kind === "tcp" ? app.port : (port ?? 0),
    protocol: value.protocol,
    mtls: value.mtls,
    svidHint: chosen?.hint ?? "",
    appSource: value.appSource,
    upstream: value.upstream,
    xfcc: value.xfcc,
    proxyProtocol: value.proxyProtocol,
    sendProxyProtocol: value.sendProxyProtocol,
    tunnels: value.tunnels,
    upgrades: value.upgrades,
    jwtSvid,
  };
});

const origins = withDefault(
  list(parsed("an origin", "https://app.example.org", readOrigin), { max: 256 }),
  [],
  "Origins of browser pages that may use this listener.",
);
const browser = withDefault(choice(["refuse", "allow"]), "refuse", "Whether any browser page may use this listener.");
const allow = optional(
  object({ uids: required(list(integer({ min: 0, max: MAX_UID }), { min: 1 }), "Local users, by number.") }),
  "Who may speak as this app. Default: any local user. Required beyond loopback.",
);

const outbound = object({
  name,
  listen: required(ownListenAddress(), "Where the app connects to, in plaintext: 127.0.0.1:9001 or unix:///path."),
  to: required(list(hostAndPort(), { min: 1, max: 256 }), "The servers' sidecars: host:port, one or several."),
  identity: required(
    oneOrList(expectedIdentity()),
    "The SPIFFE ID that the server must prove; one or a list; * may stand for the whole last segment.",
  ),
  svid,
  authority: optional(
    parsed("an authority", "payments.shop:8443", (value) => {
      const address = hostPort(/:[0-9]+$/.test(value) ? value : `${value}:443`, 1);
      return address instanceof Refusal ? address : value;
    }),
    "Replaces Host toward the server. Default: as the app sent it.",
  ),
  protocol: withDefault(protocol, "auto", PROTOCOL),
  upstream: withDefault(upstreamShape, {}, "Limits and time limits of the connections to the servers."),
  origins,
  browser,
  allow,
  tunnel: optional(
    text({ max: 128 }),
    "The inbound of the other sidecar that TCP connections are for, by name. Default: the one that listens at to.",
  ),
  jwtSvid: outboundJwtSvid,
});

const outboundListener: Shape<OutboundConfig> = refine(outbound, (value, node, context) => {
  const { listen, to, identity: expected } = value;
  const exposed = refuseExposed(value, node, context);
  if (exposed !== undefined) return exposed;
  const [first, ...others] = expected;
  if (first === undefined) return badValue(node, context, "names no identity");
  if (value.protocol === "auto") for (const { port } of to) cautionAuto(port, node, "to", context);
  const jwtSvid = readOutboundJwtSvid(value.jwtSvid, expected, value.protocol, node, context);
  if (jwtSvid === invalid) return invalid;
  return {
    name: claimName(value.name, listen, node, context),
    listen,
    to,
    identity: [first, ...others],
    svidHint: value.svid?.hint ?? "",
    tunnel: value.tunnel ?? "",
    authority: value.authority,
    upstream: value.upstream,
    protocol: value.protocol,
    origins: value.origins,
    browser: value.browser,
    allowUids: value.allow?.uids,
    jwtSvid,
  };
});

const forwardListener: Shape<ForwardConfig> = refine(
  object({
    name,
    listen: required(ownListenAddress(), "Where the app's proxy settings lead to: 127.0.0.1:3128 or unix:///path."),
    forward: required(
      forwardShape,
      "Makes this listener an egress proxy: absolute-form HTTP, CONNECT and SOCKS5 on one port.",
    ),
    upstream: withDefault(upstreamShape, {}, "Limits and time limits of the connections to destinations."),
    svid,
    origins,
    browser,
    allow,
  }),
  (value, node, context) => {
    const exposed = refuseExposed(value, node, context);
    if (exposed !== undefined) return exposed;
    return {
      name: claimName(value.name, value.listen, node, context),
      listen: value.listen,
      forward: value.forward,
      upstream: value.upstream,
      svidHint: value.svid?.hint ?? "",
      origins: value.origins,
      browser: value.browser,
      allowUids: value.allow?.uids,
    };
  },
);

/** Whoever reaches an outbound listener speaks as this app. */
function refuseExposed(
  value: { readonly listen: Address; readonly allow: { readonly uids: readonly number[] } | undefined },
  node: YamlNode,
  context: ReadContext,
): Invalid | undefined {
  const { listen } = value;
  if (listen.kind === "unix" || isLoopback(listen.host) || value.allow !== undefined) return undefined;
  const message = `${context.path}.listen can be reached from beyond this machine, and allow.uids does not say by whom`;
  return context.problems.error(
    "E_CONFIG_EXPOSED",
    placeOf(node, "listen"),
    message,
    "listen on 127.0.0.1, or add allow: { uids: [...] }",
  );
}

/** One `outbound` item: one destination that the app may call, or, with `forward`, the egress proxy. */
export const outboundShape: Shape<OutboundConfig | ForwardConfig> = {
  schema: { anyOf: [outboundListener.schema, forwardListener.schema] },
  read(node, context) {
    const forward = node.kind === "map" && node.entries.some(({ key }) => key === "forward");
    return (forward ? forwardListener : outboundListener).read(node, context);
  },
};

function readOrigin(value: string): string | Refusal {
  const url = URL.parse(value);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:"))
    return new Refusal("is no http or https origin");
  return url.origin === value ? value : new Refusal("is more than an origin, or not in lower case");
}

function claimName(given: string | undefined, listen: Address, node: YamlNode, context: ReadContext): string {
  const chosen = given ?? formatAddress(listen);
  context.problems.claim("listener name", chosen, placeOf(node, "name"), "give each listener a name of its own");
  return chosen;
}

function cautionAuto(port: number, node: YamlNode, key: string, context: ReadContext): void {
  const caution = autoProtocolCaution(port);
  if (caution !== undefined) {
    context.problems.warn(
      "W_CONFIG_PROTOCOL",
      placeOf(node, key),
      `${context.path}: ${caution}`,
      "write protocol: tcp",
    );
  }
}
