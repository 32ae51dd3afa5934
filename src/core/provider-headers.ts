/** Where a request goes, how it is framed, the hop's own fields, and what is ours to say. */
const FIXED: ReadonlySet<string> = new Set(
  (
    "host content-length transfer-encoding te trailer expect connection keep-alive proxy-connection upgrade http2-settings " +
    "traceparent x-request-id x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-client-cert"
  ).split(" "),
);

/** Whether no configuration may give providers a header of its own by this name. `lower` is lower-cased; `_` counts as `-`, since apps
 *  behind CGI-like gateways cannot tell the two apart. */
export function isFixedInChecks(lower: string): boolean {
  return isFixed(dashed(lower));
}

/** Whether no external authorization provider may set or remove a header by this name on the way to the app, pseudo-headers included: besides
 *  the above all of `x-forwarded-*`, by which apps know a caller's address, scheme and port. `lower` as above. */
export function isClosedToProviders(lower: string): boolean {
  const name = dashed(lower);
  return isFixed(name) || name.startsWith("x-forwarded-");
}

function isFixed(name: string): boolean {
  return FIXED.has(name) || name.startsWith("x-countersign-") || name.startsWith(":");
}

function dashed(lower: string): string {
  return lower.replaceAll("_", "-");
}
