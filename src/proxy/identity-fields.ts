/** Header fields that are ours alone: `x-forwarded-client-cert` and `x-countersign-*`, with `_` taken for `-`, since apps behind CGI-like
 *  gateways cannot tell the two apart; and such a spelling of what we write otherwise or a trusted proxy alone may send. `lower` is a lower-cased
 *  name. */
export function isIdentityField(lower: string): boolean {
  if (lower.charCodeAt(0) !== 0x78) return false;
  if (!lower.includes("_")) return lower === XFCC || lower.startsWith("x-countersign-");
  const name = lower.replaceAll("_", "-");
  return name === XFCC || name.startsWith("x-countersign-") || DASHED_ONLY.includes(name);
}

export const XFCC = "x-forwarded-client-cert";
const DASHED_ONLY: readonly string[] = ["x-forwarded-for", "x-forwarded-proto"];
export const HOPS = "x-countersign-hops";
/** Says to the other sidecar that the app speaks HTTP/1.1, whatever runs between the sidecars: the other app gets the same. */
export const APP_HTTP = "x-countersign-http";

/** A call that passed more sidecars than this goes round in a circle. */
export const MAX_HOPS = 16;

/** The hop count that a request brings, 0 without one; MAX_HOPS for anything that is not a small number: it can only be raised. */
export function hopsOf(value: string | undefined): number {
  if (value === undefined) return 0;
  if (value.length === 0 || value.length > 2) return MAX_HOPS;
  let hops = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return MAX_HOPS;
    hops = hops * 10 + digit;
  }
  return hops;
}

/** One element of x-forwarded-client-cert as Envoy writes it. */
export function xfccElement(by: string, hash: string, uri: string): string {
  return `By=${quoted(by)};Hash=${hash};URI=${quoted(uri)}`;
}

function quoted(value: string): string {
  if (!value.includes(",") && !value.includes(";") && !value.includes("=") && !value.includes('"')) return value;
  return `"${value.replaceAll('"', '\\"')}"`;
}
