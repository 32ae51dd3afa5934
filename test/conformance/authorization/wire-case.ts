import type { TokenSetting } from "./wire-tokens.ts";

// What authorization/wire-*.yaml hold; README.md says what the keys mean.

export type Pairs = readonly (readonly [string, string])[];

export interface WireCase extends PolicySet {
  readonly spec: string;
  readonly mode?: "strict" | "istio";
  /** More keys of the inbound listener, and more of countersign.yaml. */
  readonly inbound?: string;
  readonly config?: string;
  /** `endless`: HTTP whose answers, and upgraded connections, go on. */
  readonly app?: "http" | "tcp" | "endless";
  /** A second sidecar, of `web`, whose outbound listener has these keys: calls begin there, in plaintext, as an app's do. It knows the
   *  provider too. `{in}`: port of the inbound listener. */
  readonly outbound?: { readonly listener: string; readonly documents: readonly object[] };
  readonly tokens?: TokenSetting;
  readonly provider?: ProviderSetting;
  /** RFC 3339: what the time is. It stands still but where it `passes`. */
  readonly clock?: string;
  readonly calls: readonly WireRow[];
}

/** Rules of a policy `allow` and of one named `deny`, and further documents. */
export interface PolicySet {
  readonly allow?: readonly unknown[];
  readonly deny?: readonly unknown[];
  readonly documents?: readonly object[];
}

export interface ProviderSetting {
  readonly kind: "grpc" | "http";
  /** What it says to everything. */
  readonly says: "yes" | "no" | "nothing" | "an error" | "an empty answer";
  /** Headers that it wants set on the request. */
  readonly sets?: Readonly<Record<string, string>>;
  /** Its includeRequestBodyInCheck. */
  readonly body?: Readonly<Record<string, number | boolean>>;
}

export interface WireRow {
  /** What is attempted. */
  readonly says: string;
  readonly by?: "web" | "partner" | "nobody" | "plaintext";
  readonly alpn?: string;
  readonly sni?: string;
  readonly before?: string;
  /** Lines of an HTTP/1.1 head; the empty line behind them is added. */
  readonly send?: readonly string[];
  /** Behind the head, instead of one, or through the tunnel that `fields` open. */
  readonly bytes?: string;
  /** An HTTP/2 request. */
  readonly fields?: Pairs;
  readonly trailers?: Pairs;
  /** Status, or status and code, or how the connection or stream ends. */
  readonly expect: string;
  /** Headers of the answer. */
  readonly answer?: Readonly<Record<string, string>>;
  /** Request line that the app saw; null: it saw nothing. */
  readonly app?: string | null;
  /** Headers that the app saw; null: absent. */
  readonly sees?: Readonly<Record<string, string | null>>;
  readonly seesTrailers?: Readonly<Record<string, string | null>>;
  /** How often the provider was asked. */
  readonly asked?: number;
  /** What the provider was shown of the body, one character a byte, with "…" behind a partial one; null: none. */
  readonly shown?: string | null;
  /** How often the issuer's keys were asked for since the start. */
  readonly keysFetched?: number;
  /** So much time before it. */
  readonly passes?: string;
  /** Before it, this is loaded as the new set of policies, or refused with this code. */
  readonly load?: PolicySet & { readonly fails?: string };
  /** While the call waits for the provider or for keys, which answer then: a set comes into force, time passes, others call. */
  readonly meanwhile?: PolicySet & Pick<Step, "passes"> & { readonly others?: readonly WireRow[] };
  /** What becomes of the call when its answer has begun. */
  readonly then?: readonly Step[];
  /** What the record says. */
  readonly record?: Readonly<Record<string, unknown>>;
}

export interface Step {
  /** So much time. */
  readonly passes?: string;
  readonly load?: PolicySet;
  readonly is: "open" | "closed" | "reset";
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, min: 60_000 };

/** `59 s` in milliseconds. Throws TypeError for what is no such time. */
export function millisecondsOf(text: string): number {
  const [, count = "", unit = ""] = /^(\d+) (s|min)$/.exec(text) ?? [];
  const factor = UNITS[unit];
  if (factor === undefined) throw new TypeError(`${text} is no time`);
  return Number(count) * factor;
}
