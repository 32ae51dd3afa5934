import { X509Certificate } from "node:crypto";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot, IdentityState, Svid, TrustBundle } from "../../core/identity.ts";

/** An error as one thread tells it to another: a clone would lose its code. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly fix: string | undefined;
}

/** An SVID that can be posted. The key stays a KeyObject: its bytes lie in no message. */
type WireSvid = Omit<Svid, "chain"> & { readonly chainDer: readonly Uint8Array[] };
type WireBundle = Omit<TrustBundle, "authorities"> & { readonly authoritiesDer: readonly Uint8Array[] };

interface WireSnapshot extends Omit<IdentitySnapshot, "svids" | "bundles"> {
  readonly svids: readonly WireSvid[];
  readonly bundles: readonly WireBundle[];
}

/** An identity state that can be posted to a worker. */
export type WireIdentity =
  | { readonly kind: "waiting"; readonly sinceMs: number; readonly problem: WireError | undefined }
  | { readonly kind: "serving"; readonly snapshot: WireSnapshot }
  | { readonly kind: "stale"; readonly snapshot: WireSnapshot; readonly problem: WireError }
  | { readonly kind: "revoked" | "expired"; readonly problem: WireError };

export function errorToWire({ code, message, fix }: CountersignError): WireError {
  return { code, message, fix };
}

export function errorFromWire({ code, message, fix }: WireError): CountersignError {
  return new CountersignError(code, message, { fix });
}

export function identityToWire(state: IdentityState): WireIdentity {
  switch (state.kind) {
    case "waiting":
      return { ...state, problem: state.problem && errorToWire(state.problem) };
    case "serving":
      return { kind: "serving", snapshot: snapshotToWire(state.snapshot) };
    case "stale":
      return { kind: "stale", snapshot: snapshotToWire(state.snapshot), problem: errorToWire(state.problem) };
    case "revoked":
    case "expired":
      return { kind: state.kind, problem: errorToWire(state.problem) };
  }
}

/** `before`: what the thread had. SVIDs and bundles that did not change stay the same objects: TLS contexts and indexes hang on them. */
export function identityFromWire(wire: WireIdentity, before: IdentityState | undefined): IdentityState {
  const known = before !== undefined && "snapshot" in before ? before.snapshot : undefined;
  switch (wire.kind) {
    case "waiting":
      return { ...wire, problem: wire.problem && errorFromWire(wire.problem) };
    case "serving":
      return { kind: "serving", snapshot: snapshotFromWire(wire.snapshot, known) };
    case "stale":
      return {
        kind: "stale",
        snapshot: snapshotFromWire(wire.snapshot, known),
        problem: errorFromWire(wire.problem),
      };
    case "revoked":
    case "expired":
      return { kind: wire.kind, problem: errorFromWire(wire.problem) };
  }
}

function snapshotToWire(snapshot: IdentitySnapshot): WireSnapshot {
  return {
    ...snapshot,
    svids: snapshot.svids.map(({ chain, ...svid }) => ({ ...svid, chainDer: chain.map(({ raw }) => raw) })),
    bundles: Array.from(snapshot.bundles.values(), ({ authorities, ...bundle }) => ({
      ...bundle,
      authoritiesDer: authorities.map(({ raw }) => raw),
    })),
  };
}

function snapshotFromWire(wire: WireSnapshot, known: IdentitySnapshot | undefined): IdentitySnapshot {
  const [first, ...others] = wire.svids.map((one) => svidFromWire(one, known));
  if (first === undefined) throw new TypeError("an identity snapshot without an SVID");
  return {
    ...wire,
    svids: [first, ...others],
    bundles: new Map(wire.bundles.map((one) => [one.trustDomain, bundleFromWire(one, known)])),
  };
}

function svidFromWire({ chainDer, ...svid }: WireSvid, known: IdentitySnapshot | undefined): Svid {
  const same = known?.svids.find(
    ({ fingerprint, hint, chainPem, notAfterMs }) =>
      fingerprint === svid.fingerprint &&
      hint === svid.hint &&
      chainPem === svid.chainPem &&
      notAfterMs === svid.notAfterMs,
  );
  return same ?? { ...svid, chain: chainDer.map((der) => new X509Certificate(der)) };
}

function bundleFromWire({ authoritiesDer, ...bundle }: WireBundle, known: IdentitySnapshot | undefined): TrustBundle {
  const same = known?.bundles.get(bundle.trustDomain);
  if (same?.version === bundle.version) return same;
  return { ...bundle, authorities: authoritiesDer.map((der) => new X509Certificate(der)) };
}
