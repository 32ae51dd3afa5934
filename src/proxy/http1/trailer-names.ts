/** Names that a trailer section must not carry (RFC 9110 section 6.5.1): an app that merges trailers into its headers would let
 *  them say after the decision what policy, routing and framing had read before it. */
const NEVER_TRAILERS: ReadonlySet<string> = new Set(
  [
    // framing and hop by hop
    "connection content-length http2-settings keep-alive proxy-connection te trailer transfer-encoding upgrade",
    // routing
    "alt-svc forwarded host location max-forwards origin referer via x-http-method-override x-original-url x-real-ip x-rewrite-url",
    // authentication
    "authentication-info authorization cookie proxy-authenticate proxy-authentication-info proxy-authorization set-cookie",
    "www-authenticate x-api-key",
    // request modifiers and response control
    "age cache-control expect expires date if-match if-modified-since if-none-match if-range if-unmodified-since pragma range",
    "retry-after vary warning",
    // how to read the content
    "content-disposition content-encoding content-language content-location content-range content-type",
  ].flatMap((line) => line.split(" ")),
);

/** Whole families: identity and where a call came from. */
const NEVER_TRAILER_PREFIXES = ["x-forwarded-", "x-countersign-", "access-control-", "sec-"] as const;

/** Of nearly every gRPC call. */
const USUAL_TRAILERS: ReadonlySet<string> = new Set(["grpc-status", "grpc-message", "grpc-status-details-bin"]);

/** Whether a trailer field may be passed on. `_` counts as `-`, as CGI-like apps read names. */
export function mayBeTrailer(lowerName: string): boolean {
  if (USUAL_TRAILERS.has(lowerName)) return true;
  const name = lowerName.replaceAll("_", "-");
  if (NEVER_TRAILERS.has(name)) return false;
  return !NEVER_TRAILER_PREFIXES.some((prefix) => name.startsWith(prefix));
}
