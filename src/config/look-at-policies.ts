import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { CountersignError } from "../core/errors.ts";
import type { PolicyFetch } from "./fetch-policies.ts";
import type { KeptPolicies } from "./kept-policies.ts";
import { type PolicySignature, parsePolicySignature, readPolicyKey, verifyPolicies } from "./policy-signature.ts";
import type { PolicyUrlConfig } from "./sidecar-config.ts";

export interface PolicyLook {
  readonly config: PolicyUrlConfig;
  readonly fetch: PolicyFetch;
  readonly nowMs: () => number;
  /** What the server had last, or what is kept. */
  readonly known: KeptPolicies | undefined;
  /** The highest signed version that was taken: no lower one is, whatever is known. */
  readonly taken: number;
  readonly signal: AbortSignal;
}

/** Asks the server once; resolves with what it has, verified. Rejects with CountersignError: E_POLICY_FETCH, E_POLICY_SIGNATURE,
 *  E_POLICY_ROLLBACK. */
export async function lookAtPolicies(look: PolicyLook): Promise<KeptPolicies> {
  const { config, fetch, known, signal } = look;
  const key = await readKey(config);
  const answer = await fetch(config.url, etagToSend(config, known, key), signal);
  if (answer.kind === "unchanged") {
    if (known === undefined) throw new CountersignError("E_POLICY_FETCH", "the server says unchanged, of nothing");
    return { ...known, confirmedAtMs: look.nowMs() };
  }
  const { text, etag } = answer;
  const signature = key === undefined ? undefined : await fetchSignature(look, text, key);
  return { url: config.url, text, etag, signature, confirmedAtMs: confirmedAt(look, signature) };
}

/** Over http anybody on the path can say again for ever what the server once said: there only a version that has risen is a confirmation. */
function confirmedAt({ config, known, nowMs }: PolicyLook, signature: PolicySignature | undefined): number {
  const isOld = known !== undefined && known.signature?.version === signature?.version;
  return isOld && !isAuthentic(config) ? Math.min(known.confirmedAtMs, nowMs()) : nowMs();
}

function isAuthentic({ url }: PolicyUrlConfig): boolean {
  return url.startsWith("https:");
}

/** None over http, where an "unchanged" would be signed by nobody; nor where what is known was signed by another key than today's. */
function etagToSend(
  config: PolicyUrlConfig,
  known: KeptPolicies | undefined,
  key: KeyObject | undefined,
): string | undefined {
  if (known?.etag === undefined || !isAuthentic(config)) return undefined;
  return key === undefined || isSigned(known, config.name, key) ? known.etag : undefined;
}

async function fetchSignature(
  { config, fetch, known, taken, signal }: PolicyLook,
  text: string,
  key: KeyObject,
): Promise<PolicySignature> {
  const answer = await fetch(`${config.url}.sig`, undefined, signal);
  if (answer.kind === "unchanged") throw new CountersignError("E_POLICY_FETCH", "the signature's answer has no body");
  const signature = parsePolicySignature(answer.text);
  verifyPolicies(text, config.name, signature, key);
  const before = Math.max(known?.signature?.version ?? 0, taken);
  const isOther = known?.signature?.version === before && text !== known.text;
  if (signature.version < before || (signature.version === before && isOther))
    throw rollback(signature.version, before);
  return signature;
}

/** Throws CountersignError unless what was kept may be used: E_POLICY_SIGNATURE, E_POLICY_ROLLBACK. */
export async function verifyKept(kept: KeptPolicies, config: PolicyUrlConfig, taken: number): Promise<void> {
  const key = await readKey(config);
  if (key === undefined) return;
  if (kept.signature === undefined)
    throw new CountersignError("E_POLICY_SIGNATURE", "it has no signature, and a key is configured");
  verifyPolicies(kept.text, config.name, kept.signature, key);
  if (kept.signature.version < taken) throw rollback(kept.signature.version, taken);
}

function isSigned({ text, signature }: KeptPolicies, name: string, key: KeyObject): boolean {
  if (signature === undefined) return false;
  try {
    verifyPolicies(text, name, signature, key);
    return true;
  } catch {
    return false;
  }
}

function rollback(version: number, before: number): CountersignError {
  return new CountersignError("E_POLICY_ROLLBACK", `version ${version} is not above ${before}, which was taken before`);
}

/** Read for each look, so that another key needs no restart. */
async function readKey({ publicKey: file }: PolicyUrlConfig): Promise<KeyObject | undefined> {
  if (file === undefined) return undefined;
  let pem: string;
  try {
    pem = await readFile(file, "utf8");
  } catch (cause) {
    throw new CountersignError("E_POLICY_SIGNATURE", "the public key cannot be read", { at: { file }, cause });
  }
  return readPolicyKey(pem, file);
}
