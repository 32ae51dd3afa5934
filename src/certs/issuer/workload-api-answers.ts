import { status } from "@grpc/grpc-js";
import type { LocalPeer } from "../../sys/local-peer.ts";
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
import { issueJwtSvid } from "./jwt-authority.ts";
import type { Push } from "./push-stream.ts";
import { jwtBundleJson, x509BundleDer } from "./trust-bundle.ts";
import { validateJwtSvid } from "./validate-jwt-svid.ts";
import type { WorkloadApiContext } from "./workload-api-context.ts";

const MAX_AUDIENCES = 32;
const MAX_AUDIENCE_CHARS = 1024;

/** What the five calls of the Workload API answer to one peer at this moment. Each looks at the peer anew. */
export function workloadApiAnswers(context: WorkloadApiContext, peer: LocalPeer) {
  const { clock, log, authorities, svids } = context;
  const { uid, gid, pid } = peer.credentials;
  const caller = { uid, gid, pid };
  const attested = (): Promise<readonly Entry[]> => attest(peer, context.entries);
  /** Serials that the log already has for this connection. */
  let logged = "";

  async function x509Svids(): Promise<Push<X509SvidResponse>> {
    const entries = await attested();
    const current = await Promise.all(entries.map(({ id }) => svids.current(id)));
    const bundle = x509BundleDer(authorities.current);
    const serials = current.map(({ serial }) => serial).join(" ");
    if (serials !== logged) {
      logged = serials;
      for (const { spiffeId, serial, notAfterMs } of current)
        log.info({ event: "issued", kind: "x509", spiffeId, serial, notAfter: isoTime(notAfterMs), ...caller });
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
        federatedBundles: {},
      },
      version: JSON.stringify([serials, entries.map(({ hint }) => hint), bundle.toString("base64")]),
      nextAtMs: Math.min(...current.map(({ rotateAtMs }) => rotateAtMs)),
    };
  }

  async function x509Bundles(): Promise<Push<X509BundlesResponse>> {
    await attested();
    const { trustDomain } = authorities.current;
    const der = x509BundleDer(authorities.current);
    const bundles = { [`spiffe://${trustDomain}`]: der };
    return { message: { crl: [], bundles }, version: der.toString("base64"), nextAtMs: Infinity };
  }

  async function jwtBundles(): Promise<Push<JwtBundlesResponse>> {
    await attested();
    const { trustDomain } = authorities.current;
    const json = jwtBundleJson(authorities.current);
    const bundles = { [`spiffe://${trustDomain}`]: Buffer.from(json) };
    return { message: { bundles }, version: json, nextAtMs: Infinity };
  }

  async function jwtSvid({ audience, spiffeId }: JwtSvidRequest): Promise<JwtSvidResponse> {
    if (audience.length === 0 || audience.some((name) => name === ""))
      throw new CallRefusal(status.INVALID_ARGUMENT, "audience must be given, and no part of it empty");
    if (audience.length > MAX_AUDIENCES || audience.some(({ length }) => length > MAX_AUDIENCE_CHARS))
      throw new CallRefusal(status.INVALID_ARGUMENT, "audience is too long");
    const entries = await attested();
    const wanted = entries.filter(({ id }) => spiffeId === "" || id === spiffeId);
    if (wanted.length === 0)
      throw new CallRefusal(status.PERMISSION_DENIED, "the caller is not entitled to the SPIFFE ID that it asked for");
    const authority = await authorities.signingJwt();
    const issue = async ({ id, hint }: Entry): Promise<JwtSvidResponse["svids"][number]> => {
      const { token, notAfterMs } = await issueJwtSvid(authority, id, audience, context.jwtTtlMs(), clock.nowMs());
      log.info({ event: "issued", kind: "jwt", spiffeId: id, audience, notAfter: isoTime(notAfterMs), ...caller });
      return { spiffeId: id, svid: token, hint };
    };
    return { svids: await Promise.all(wanted.map(issue)) };
  }

  async function validate({ audience, svid }: ValidateJwtSvidRequest): Promise<ValidateJwtSvidResponse> {
    await attested();
    const { spiffeId, claims } = await validateJwtSvid(svid, audience, authorities.current, clock.nowMs());
    return { spiffeId, claims: claimsStruct(claims) };
  }

  return { x509Svids, x509Bundles, jwtBundles, jwtSvid, validate };
}

const isoTime = (ms: number): string => new Date(ms).toISOString();
