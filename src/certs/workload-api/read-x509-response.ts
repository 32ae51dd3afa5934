import { CountersignError } from "../../core/errors.ts";
import type { Svid, TrustBundle } from "../../core/identity.ts";
import { parseSpiffeId, type TrustDomain, trustDomainOf } from "../../core/spiffe-id.ts";
import { DerError, splitSequences } from "../der.ts";
import type { IdentityMaterial } from "../identity-holder.ts";
import { readPrivateKey, verifyOwnSvid } from "../own-svid.ts";
import { makeTrustBundle } from "../trust-bundle.ts";
import { federatedDomain, malformed } from "./federated-domain.ts";
import type { X509SvidMessage, X509SvidResponse } from "./proto.ts";

/** Reads a message of FetchX509SVID: the whole state, verified as strictly as a peer would. `hint` names the default SVID,
 *  "" the first one; of SVIDs with the same hint the first counts. CRLs come without saying whose they are, so every
 *  bundle gets them all and the issuer's name and signature tell. Throws CountersignError: E_IDENTITY_HINT if no SVID has
 *  the hint, otherwise the reason why the message is to be dropped. */
export function readX509Response(message: X509SvidResponse, hint: string, nowMs: number): IdentityMaterial {
  if (message.svids.length === 0) throw malformed("has no SVID");
  const bundles = readBundles(message);
  const svids: Svid[] = [];
  for (const [i, part] of message.svids.entries()) {
    if (part.hint !== "" && svids.some((svid) => svid.hint === part.hint)) continue;
    svids.push(readSvid(part, i, bundles, nowMs));
  }
  const wanted = hint === "" ? svids[0] : svids.find((svid) => svid.hint === hint);
  if (wanted === undefined)
    throw new CountersignError("E_IDENTITY_HINT", `none of ${svids.length} SVIDs has the hint ${JSON.stringify(hint)}`);
  return { svids: [wanted, ...svids.filter((svid) => svid !== wanted)], bundles };
}

function readSvid(
  part: X509SvidMessage,
  i: number,
  bundles: ReadonlyMap<TrustDomain, TrustBundle>,
  nowMs: number,
): Svid {
  const chainDer = certificatesOf(part.x509Svid, `x509_svid of SVID ${i + 1}`);
  if (chainDer.length === 0) throw malformed(`has no x509_svid in SVID ${i + 1}`);
  if (part.x509SvidKey.length === 0) throw malformed(`has no x509_svid_key in SVID ${i + 1}`);
  const svid = verifyOwnSvid(
    { chainDer, key: readPrivateKey(part.x509SvidKey, "pkcs8"), hint: part.hint },
    bundles,
    nowMs,
  );
  if (svid.spiffeId !== part.spiffeId)
    throw malformed(`has a spiffe_id that is not that of its certificate in SVID ${i + 1}`);
  return svid;
}

function readBundles(message: X509SvidResponse): ReadonlyMap<TrustDomain, TrustBundle> {
  const found = new Map<TrustDomain, TrustBundle>();
  const add = (trustDomain: TrustDomain, der: Uint8Array): void => {
    const bundle = makeTrustBundle(trustDomain, certificatesOf(der, `bundle of ${trustDomain}`), message.crl);
    const other = found.get(trustDomain);
    if (other !== undefined && other.version !== bundle.version) throw malformed(`has two bundles for ${trustDomain}`);
    found.set(trustDomain, bundle);
  };
  for (const [i, { spiffeId, bundle }] of message.svids.entries()) {
    if (bundle.length === 0) throw malformed(`has no bundle in SVID ${i + 1}`);
    add(trustDomainOf(parseSpiffeId(spiffeId)), bundle);
  }
  for (const [name, bundle] of Object.entries(message.federatedBundles)) add(federatedDomain(name), bundle);
  return found;
}

function certificatesOf(der: Uint8Array, what: string): Uint8Array[] {
  try {
    return splitSequences(der, "certificate");
  } catch (error) {
    if (error instanceof DerError) throw malformed(`has a ${what} that ${error.message}`);
    throw error;
  }
}
