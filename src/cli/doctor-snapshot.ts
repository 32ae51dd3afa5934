import type { ExpectedIdentity, SidecarConfig } from "../config/sidecar-config.ts";
import { isLoopback } from "../config/yaml-addresses.ts";
import { CountersignError, type SourcePosition } from "../core/errors.ts";
import type { IdentitySnapshot, Svid, TrustBundle } from "../core/identity.ts";
import { type TrustDomain, trustDomainOf } from "../core/spiffe-id.ts";
import { listeningUid } from "../sys/listening-uid.ts";
import type { Finding } from "./findings-report.ts";

type PlaceOf = (...path: readonly (string | number)[]) => SourcePosition;

const DAY_MS = 86_400_000;
const SOON_MS = 7 * DAY_MS;

/** What is wrong with an identity that was received: its lives, its gaps, its keys. */
export function snapshotFindings(
  config: SidecarConfig,
  snapshot: IdentitySnapshot,
  nowMs: number,
  at: PlaceOf,
): Finding[] {
  return [
    ...snapshot.svids.flatMap((svid) => svidFindings(svid, nowMs)),
    ...Array.from(snapshot.bundles.values(), (bundle) => bundleFindings(bundle, nowMs)).flat(),
    ...gapFindings(config, snapshot, at),
    ...hintFindings(config, snapshot, at),
    ...jwtFindings(config, snapshot, at),
    ...userFindings(config, at),
  ];
}

/** An agent tells processes of one machine apart by their user: an app with the sidecar's could fetch the key itself. */
function userFindings({ inbound }: SidecarConfig, at: PlaceOf): Finding[] {
  const own = process.geteuid?.();
  return inbound.flatMap(({ name, app }, i) => {
    const isHere = app.kind === "tcp" && (isLoopback(app.host) || app.host === "localhost");
    if (own === undefined || !isHere || listeningUid(app.port) !== own) return [];
    return [
      {
        code: "W_DOCTOR_SAME_USER" as const,
        message: `the app of inbound ${name} runs as uid ${own}, as this doctor does: where the sidecar does too, the app could fetch its key`,
        fix: "run the sidecar as a user of its own, and name that user in the entry",
        at: at("inbound", i, "app"),
      },
    ];
  });
}

function svidFindings({ spiffeId, notBeforeMs, notAfterMs, key }: Svid, nowMs: number): Finding[] {
  const found: Finding[] = [];
  const left = notAfterMs - nowMs;
  if (left < (notAfterMs - notBeforeMs) / 4)
    found.push({
      code: "W_DOCTOR_EXPIRY",
      message: `${spiffeId} has lived three quarters of its life and expires in ${span(left)}: its successor is overdue`,
      fix: "look at what renews it: the agent and its server, or the program that writes the files",
    });
  const kind = key.asymmetricKeyType === "ec" ? (key.asymmetricKeyDetails?.namedCurve ?? "ec") : key.asymmetricKeyType;
  if (kind === "ed25519" || kind === "secp521r1")
    found.push({
      code: "W_DOCTOR_CLOUD_KEY",
      message: `${spiffeId} has a key (${kind === "ed25519" ? "Ed25519" : "P-521"}) that cloud services which take X.509 do not all accept`,
      fix: "where the SVID is to be shown to one, such as AWS IAM Roles Anywhere, use P-256, P-384 or RSA",
    });
  return found;
}

function bundleFindings({ trustDomain, authorities }: TrustBundle, nowMs: number): Finding[] {
  if (authorities.length === 0)
    return [
      new CountersignError(
        "E_BUNDLE_EMPTY",
        `the trust bundle of ${trustDomain} has no authority: its SVIDs are refused`,
      ),
    ];
  const last = Math.max(...authorities.map(({ validToDate }) => validToDate.getTime()));
  if (last - nowMs >= SOON_MS) return [];
  return [
    {
      code: "W_DOCTOR_AUTHORITY_EXPIRY",
      message: `the last authority of ${trustDomain} ${last <= nowMs ? "has expired" : `expires in ${span(last - nowMs)}`}`,
      fix: "let the issuer of that trust domain rotate its CA, and see that the new bundle arrives",
    },
  ];
}

/** Servers that could never be verified. */
function gapFindings(
  { outbound, outboundAsWritten }: SidecarConfig,
  { bundles }: IdentitySnapshot,
  at: PlaceOf,
): Finding[] {
  const found: Finding[] = [];
  const look = (name: string, expected: readonly ExpectedIdentity[], place: SourcePosition): void => {
    for (const { trustDomain, pattern } of expected)
      if (!bundles.has(trustDomain))
        found.push(
          new CountersignError(
            "E_DOCTOR_BUNDLE_GAP",
            `outbound ${name} expects ${pattern}, and there is no trust bundle for ${trustDomain} (there is one for ${known(bundles)})`,
            { at: place },
          ),
        );
  };
  for (const { name, identity } of outbound)
    look(name, identity, at("outbound", indexOf(outboundAsWritten, name), "identity"));
  for (const one of outboundAsWritten)
    if ("forward" in one)
      for (const { identity } of one.forward.hosts.values())
        look(one.name, identity, at("outbound", indexOf(outboundAsWritten, one.name), "forward", "hosts"));
  return found;
}

function hintFindings(
  { inbound, outboundAsWritten }: SidecarConfig,
  { svids }: IdentitySnapshot,
  at: PlaceOf,
): Finding[] {
  const sides = [["inbound", inbound] as const, ["outbound", outboundAsWritten] as const];
  return sides.flatMap(([side, listeners]) =>
    listeners.flatMap(({ name, svidHint }, i) =>
      svidHint === "" || svids.some(({ hint }) => hint === svidHint)
        ? []
        : [
            new CountersignError(
              "E_IDENTITY_HINT",
              `${side} ${name} wants the SVID with the hint ${JSON.stringify(svidHint)}; there are ${hints(svids)}`,
              {
                at: at(side, i, "svid", "hint"),
              },
            ),
          ],
    ),
  );
}

function jwtFindings({ inbound }: SidecarConfig, { svids, jwtBundles }: IdentitySnapshot, at: PlaceOf): Finding[] {
  const own = trustDomainOf(svids[0].spiffeId);
  const keys = jwtBundles?.get(own)?.keys.length ?? 0;
  return inbound.flatMap(({ name, jwtSvid }, i) =>
    jwtSvid === undefined || keys > 0
      ? []
      : [
          new CountersignError(
            "E_DOCTOR_JWT_BUNDLE",
            `inbound ${name} asks for JWT-SVIDs, and ${own} has no JWT authority here`,
            { at: at("inbound", i, "jwtSvid") },
          ),
        ],
  );
}

function indexOf(listeners: readonly { readonly name: string }[], name: string): number {
  return listeners.findIndex((one) => one.name === name);
}

function known(bundles: ReadonlyMap<TrustDomain, unknown>): string {
  return [...bundles.keys()].join(", ");
}

function hints(svids: readonly Svid[]): string {
  return svids.map(({ hint, spiffeId }) => `${JSON.stringify(hint)} (${spiffeId})`).join(", ");
}

function span(ms: number): string {
  if (ms >= DAY_MS) return `${Math.floor(ms / DAY_MS)} d`;
  return ms >= 3_600_000 ? `${Math.floor(ms / 3_600_000)} h` : `${Math.max(0, Math.floor(ms / 60_000))} min`;
}
