import { parseJwtSvid } from "../certs/jwt-svid/parse-jwt-svid.ts";
import { createWorkloadApiClient } from "../certs/workload-api/workload-api-client.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentitySnapshot } from "../core/identity.ts";
import type { Finding } from "./findings-report.ts";

/** Nobody takes tokens for this audience. */
const AUDIENCE = "countersign-doctor";
const TIMEOUT_MS = 5_000;
const WORTH_SAYING_MS = 5_000;
/** What verifiers commonly forgive. */
const TOO_FAR_MS = 30_000;

/** How far this clock is from the identity provider's, and what its JWT-SVIDs are signed with. A fresh JWT-SVID tells both:
 *  its `iat` is the provider's time. An agent that gives none tells neither, which is no fault. */
export async function clockFindings(address: string, { svids }: IdentitySnapshot): Promise<Finding[]> {
  const client = createWorkloadApiClient(address);
  try {
    const request = { audience: [AUDIENCE], spiffeId: svids[0].spiffeId };
    const { svids: tokens } = await client.fetchJwtSvids(request, TIMEOUT_MS);
    const nowMs = Date.now();
    const [first] = tokens;
    if (first === undefined) return [];
    const { algorithm, issuedAtMs } = parseJwtSvid(first.svid);
    return [...skewFindings(issuedAtMs, nowMs), ...algorithmFindings(algorithm.name)];
  } catch {
    return [];
  }
}

/** `iat` is in whole seconds. */
function skewFindings(issuedAtMs: number | undefined, nowMs: number): Finding[] {
  if (issuedAtMs === undefined) return [];
  const aheadMs = Math.floor(nowMs / 1000) * 1000 - issuedAtMs;
  const distance = Math.abs(aheadMs);
  if (distance <= WORTH_SAYING_MS) return [];
  const message = `this machine's clock is ${Math.round(distance / 1000)} s ${aheadMs > 0 ? "ahead of" : "behind"} the identity provider's`;
  if (distance > TOO_FAR_MS) return [new CountersignError("E_DOCTOR_CLOCK", message)];
  return [{ code: "W_DOCTOR_CLOCK", message, fix: "let both machines set their clocks by NTP" }];
}

function algorithmFindings(name: string): Finding[] {
  if (name === "RS256") return [];
  return [
    {
      code: "W_DOCTOR_CLOUD_JWT",
      message: `JWT-SVIDs are signed with ${name}, which not every cloud takes (Azure: RS256 alone)`,
      fix: "where clouds are to take them, let the issuer sign with RS256, the one that all take; between sidecars nothing needs to change",
    },
  ];
}
