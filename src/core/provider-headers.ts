/** Names that no external authorization provider may set or remove on the way to the app: where a request goes, how it is framed, the
 *  hop's own, and what is ours to say. */
const CLOSED: ReadonlySet<string> = new Set(
  (
    "host content-length transfer-encoding te trailer expect connection keep-alive proxy-connection upgrade http2-settings " +
    "traceparent x-request-id x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-client-cert"
  ).split(" "),
);

/** Whether a header name is closed to providers, pseudo-headers included. `lower` is lower-cased; `_` counts as `-`, since apps behind
 *  CGI-like gateways cannot tell the two apart. */
export function isClosedToProviders(lower: string): boolean {
  const name = lower.replaceAll("_", "-");
  return CLOSED.has(name) || name.startsWith("x-countersign-") || name.startsWith(":");
}
