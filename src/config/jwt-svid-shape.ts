import type { Invalid } from "./problems.ts";
import type { ExpectedIdentity, InboundJwtSvid, OutboundJwtSvid } from "./sidecar-config.ts";
import { object, oneOrList, optional, withDefault } from "./yaml-collections.ts";
import { boolean, parsed, Refusal, text } from "./yaml-scalars.ts";
import { badValue, inside, placeOf, type ReadContext } from "./yaml-shape.ts";
import type { YamlNode } from "./yaml-tree.ts";

/** Fields that mean something of their own to HTTP or to sidecars. */
const RESERVED: ReadonlySet<string> = new Set(
  "host content-length content-type transfer-encoding connection keep-alive te trailer upgrade expect cookie origin traceparent x-request-id x-forwarded-for x-forwarded-proto x-forwarded-client-cert".split(
    " ",
  ),
);

const header = withDefault(
  parsed("a header's name", "x-jwt-svid", (value) => {
    const name = value.toLowerCase();
    if (!/^[a-z0-9!#$%&'*+.^`|~-]+$/.test(name)) return new Refusal("is no header name, or has _ in it");
    if (RESERVED.has(name) || name.startsWith("x-countersign-") || name.startsWith("proxy-"))
      return new Refusal("is a header that has a meaning of its own", "write authorization, or a name of your own");
    return name;
  }),
  "authorization",
  "The header that carries it; in authorization behind `Bearer`.",
);
const audienceText = text({ max: 1024 });

/** `outbound[].jwtSvid`. */
export const outboundJwtSvid = optional(
  object({
    audience: optional(
      audienceText,
      "Whom it is for. Default: the SPIFFE ID that the server must prove, if it is one whole ID.",
    ),
    header,
  }),
  "A JWT-SVID of ours that goes with each request, for hops that end TLS.",
);

/** `inbound[].jwtSvid`. */
export const inboundJwtSvid = optional(
  object({
    audience: optional(oneOrList(audienceText), "For whom it must be; one or a list. Default: our own SPIFFE ID."),
    header,
    required: withDefault(boolean(), true, "false: a request without one is let through to policy."),
    plaintext: withDefault(
      boolean(),
      false,
      "true: also from callers without an SVID of their own, where something that you trust ends TLS in front.",
    ),
  }),
  "A JWT-SVID that requests must bring; policies see it as request principal.",
);

interface Written {
  readonly audience: string | readonly string[] | undefined;
  readonly header: string;
}

/** Tokens go with HTTP requests only: a connection that turns out to be something else would go without one. */
function needsHttp(protocol: string, node: YamlNode, context: ReadContext): Invalid | undefined {
  if (protocol !== "auto" && protocol !== "tcp") return undefined;
  const place = inside(context, "jwtSvid");
  return context.problems.error(
    "E_CONFIG_VALUE",
    placeOf(node, "jwtSvid"),
    `${place.path} is for HTTP alone, and protocol is ${protocol}`,
    "write protocol: http",
  );
}

export function readInboundJwtSvid(
  value: (Written & { readonly required: boolean; readonly plaintext: boolean }) | undefined,
  protocol: string,
  node: YamlNode,
  context: ReadContext,
): InboundJwtSvid | undefined | Invalid {
  if (value === undefined) return undefined;
  const audience = typeof value.audience === "string" ? [value.audience] : (value.audience ?? []);
  return needsHttp(protocol, node, context) ?? { ...value, audience };
}

export function readOutboundJwtSvid(
  value: { readonly audience: string | undefined; readonly header: string } | undefined,
  identity: readonly ExpectedIdentity[],
  protocol: string,
  node: YamlNode,
  context: ReadContext,
): OutboundJwtSvid | undefined | Invalid {
  if (value === undefined) return undefined;
  const audience = value.audience ?? (identity.length === 1 ? identity[0]?.exact : undefined);
  if (audience === undefined)
    return badValue(
      node,
      inside(context, "jwtSvid"),
      "has no audience, and identity is not one whole SPIFFE ID",
      "add audience",
    );
  return needsHttp(protocol, node, context) ?? { audience, header: value.header };
}
