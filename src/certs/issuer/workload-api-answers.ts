import { status } from "@grpc/grpc-js";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import type { LocalPeer } from "../../sys/local-peer.ts";
import type { FederatedBundle } from "../federation/federated-bundle.ts";
import { verifyJwtSvid } from "../jwt-svid/verify-jwt-svid.ts";
import type {
  JwtBundlesResponse,
  JwtSvidRequest,
  JwtSvidResponse,
  ValidateJwtSvidRequest,
  ValidateJwtSvidResponse,
  X509BundlesResponse,
  X509SvidResponse,
} from "../workload-api/proto.ts";
import { attest } from "./attest.ts";
import { CallRefusal } from "./call-status.ts";
import { claimsStruct } from "./claims-struct.ts";
import type { Entry } from "./entries.ts";
import { issuedRecord } from "./issuer-audit.ts";
import { issueJwtSvid } from "./jwt-authority.ts";
import type { Push } from "./push-stream.ts";
import { formatSelector } from "./selectors.ts";
import { jwtBundleJson, jwtBundleOf, jwtKeysJson, x509BundleDer } from "./trust-bundle.ts";
import type { WorkloadApiContext } from "./workload-api-context.ts";

const MAX_AUDIENCES = 32;
const MAX_AUDIENCE_CHARS = 1024;

/** What the five calls of the Workload API answer to one peer at this moment. Each looks at the peer anew. */
export function workloadApiAnswers(context: WorkloadApiContext, peer: LocalPeer) {
  const { clock, log, audit, authorities, svids } = context;
  const { uid, gid, pid } = peer.credentials;
  const caller = { uid, gid, pid };
  const attested = (): Promise<readonly Entry[]> => attest(peer, context.entries);
  /** Serials that log and audit already have for this connection. */
  let recorded = "";

  /** What is handed out is recorded first, or not handed out. */
  function assertRecordable(): void {
    const { problem } = audit;
    if (problem !== undefined)
      throw new CallRefusal(status.UNAVAILABLE, `E_AUDIT_UNAVAILABLE nothing is issued unrecorded: ${problem}`);
  }

  /** Bundles that one of the entries federates with. */
  function federatedFor(entries: readonly Entry[]): ReadonlyMap<TrustDomain, FederatedBundle> {
    const all = context.federated();
    if (entries.some(({ federatesWith }) => federatesWith === undefined)) return all;
    const wanted = new Set(entries.flatMap(({ federatesWith }) => federatesWith ?? []));
    return new Map(Array.from(all).filter(([trustDomain]) => wanted.has(trustDomain)));
  }

  async function x509Svids(): Promise<Push<X509SvidResponse>> {
    const entries = await attested();
    assertRecordable();
    const current = await Promise.all(entries.map(({ id, svidTtlMs }) => svids.current(id, svidTtlMs)));
    const bundle = x509BundleDer(authorities.current);
    const federated = federatedFor(entries);
    const serials = current.map(({ serial }) => serial).join(" ");
    if (serials !== recorded) {
      recorded = serials;
      for (const [i, { spiffeId, serial, notAfterMs }] of current.entries()) {
        const entry = entries[i];
        log.info({ event: "issued", kind: "x509", spiffeId, serial, notAfter: isoTime(notAfterMs), ...caller });
        audit.event(issuedRecord({ kind: "x509", caller, entry, spiffeId, serial, notAfterMs, detail: "" }));
      }
    }
    return {
      message: {
        svids: current.map(({ spiffeId, chainDer, keyDer }, index) => ({
          spiffeId,
          x509Svid: chainDer,
          x509SvidKey: keyDer,
          bundle,
          hint: entries[index]?.hint ?? "",
        })),
        crl: [],
        federatedBundles: x509Federated(federated),
      },
      version: JSON.stringify([
        serials,
        entries.map(({ hint }) => hint),
        bundle.toString("base64"),
        x509Versions(federated),
      ]),
      nextAtMs: Math.min(...current.map(({ rotateAtMs }) => rotateAtMs)),
    };
  }

  async function x509Bundles(): Promise<Push<X509BundlesResponse>> {
    const federated = federatedFor(await attested());
    const own = x509BundleDer(authorities.current);
    const bundles = { [`spiffe://${authorities.current.trustDomain}`]: own, ...x509Federated(federated) };
    const version = JSON.stringify([own.toString("base64"), x509Versions(federated)]);
    return { message: { crl: [], bundles }, version, nextAtMs: Infinity };
  }

  async function jwtBundles(): Promise<Push<JwtBundlesResponse>> {
    const federated = federatedFor(await attested());
    const own = [`spiffe://${authorities.current.trustDomain}`, jwtBundleJson(authorities.current)] as const;
    const others = Array.from(
      federated,
      ([name, { jwtBundle }]) => [`spiffe://${name}`, jwtKeysJson(jwtBundle)] as const,
    );
    const documents = [own, ...others];
    const bundles = Object.fromEntries(documents.map(([name, json]) => [name, Buffer.from(json)]));
    return { message: { bundles }, version: JSON.stringify(documents), nextAtMs: Infinity };
  }

  async function jwtSvid({ audience, spiffeId }: JwtSvidRequest): Promise<JwtSvidResponse> {
    if (audience.length === 0 || audience.some((name) => name === ""))
      throw new CallRefusal(status.INVALID_ARGUMENT, "audience must be given, and no part of it empty");
    if (audience.length > MAX_AUDIENCES || audience.some(({ length }) => length > MAX_AUDIENCE_CHARS))
      throw new CallRefusal(status.INVALID_ARGUMENT, "audience is too long");
    const entries = await attested();
    const wanted = entries.filter(({ id }) => spiffeId === "" || id === spiffeId);
    if (wanted.length === 0) {
      const selectors = entries.flatMap((entry) => entry.selectors.map(formatSelector));
      throw new CallRefusal(status.PERMISSION_DENIED, "the caller is not entitled to the SPIFFE ID that it asked for", {
        reason: "E_ISSUER_NO_ENTRY",
        selectors,
      });
    }
    assertRecordable();
    const authority = await authorities.signingJwt();
    const { ttlMs, issuer } = context.jwt();
    const issue = async (entry: Entry): Promise<JwtSvidResponse["svids"][number]> => {
      const { id, hint, jwtTtlMs } = entry;
      const params = { spiffeId: id, audience, ttlMs: jwtTtlMs ?? ttlMs, issuer };
      const { token, notAfterMs } = await issueJwtSvid(authority, params, clock.nowMs());
      log.info({ event: "issued", kind: "jwt", spiffeId: id, audience, notAfter: isoTime(notAfterMs), ...caller });
      const detail = `for ${audience.join(" ")}`;
      audit.event(issuedRecord({ kind: "jwt", caller, entry, spiffeId: id, serial: undefined, notAfterMs, detail }));
      return { spiffeId: id, svid: token, hint };
    };
    return { svids: await Promise.all(wanted.map(issue)) };
  }

  async function validate({ audience, svid }: ValidateJwtSvidRequest): Promise<ValidateJwtSvidResponse> {
    const federated = federatedFor(await attested());
    if (audience === "") throw new CallRefusal(status.INVALID_ARGUMENT, "audience must be given");
    const own = jwtBundleOf(authorities.current);
    const bundles = new Map([
      ...Array.from(federated, ([name, { jwtBundle }]) => [name, jwtBundle] as const),
      [own.trustDomain, own] as const,
    ]);
    const verdict = verifyJwtSvid(svid, [audience], bundles, clock.nowMs());
    if (verdict.kind === "refused") throw new CallRefusal(status.INVALID_ARGUMENT, `${verdict.code} ${verdict.reason}`);
    return { spiffeId: verdict.spiffeId, claims: claimsStruct(verdict.claims) };
  }

  return { x509Svids, x509Bundles, jwtBundles, jwtSvid, validate };
}

/** DER by trust domain. A revoked domain is left out: that unloads it, and an empty one breaks clients. */
function x509Federated(bundles: ReadonlyMap<TrustDomain, FederatedBundle>): Record<string, Buffer> {
  const filled = Array.from(bundles).filter(([, { trustBundle }]) => trustBundle.authorities.length > 0);
  return Object.fromEntries(
    filled.map(([name, { trustBundle }]) => [
      `spiffe://${name}`,
      Buffer.concat(trustBundle.authorities.map(({ raw }) => raw)),
    ]),
  );
}

function x509Versions(bundles: ReadonlyMap<TrustDomain, FederatedBundle>): readonly string[] {
  return Array.from(bundles, ([name, { trustBundle }]) => `${name} ${trustBundle.version}`);
}

const isoTime = (ms: number): string => new Date(ms).toISOString();
