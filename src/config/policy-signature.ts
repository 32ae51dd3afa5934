import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { CountersignError } from "../core/errors.ts";

/** A detached signature: Ed25519 (RFC 8032) over the policies' SHA-256, their name and a version that rises. */
export interface PolicySignature {
  readonly version: number;
  /** Base64. */
  readonly signature: string;
}

/** What is signed: a line each, so that no two sets, names or versions give the same bytes. The name keeps policies of one app from being
 *  put in the place of another's that the same key signs. */
function statement(text: string, name: string, version: number): Buffer {
  const digest = createHash("sha256").update(text, "utf8").digest("hex");
  return Buffer.from(`countersign-policies-v1\n${JSON.stringify(name)}\n${version}\n${digest}\n`, "utf8");
}

/** Reads a PEM public key. Throws CountersignError E_POLICY_SIGNATURE for anything but Ed25519. */
export function readPolicyKey(pem: string, file: string): KeyObject {
  return ed25519(() => createPublicKey(pem), "public", file);
}

/** Signs policies with a PEM private key, for `policy sign`. */
export function signPolicies(
  text: string,
  name: string,
  version: number,
  keyPem: string,
  file: string,
): PolicySignature {
  const key = ed25519(() => createPrivateKey(keyPem), "private", file);
  return { version, signature: sign(null, statement(text, name, version), key).toString("base64") };
}

function ed25519(read: () => KeyObject, kind: string, file: string): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = read();
  } catch {
    // said below; the parser's own words may quote the key
  }
  if (key?.asymmetricKeyType === "ed25519") return key;
  const fix =
    "openssl genpkey -algorithm ed25519 -out policies.key; openssl pkey -in policies.key -pubout -out policies.pub";
  throw new CountersignError("E_POLICY_SIGNATURE", `this is no ${kind} Ed25519 key in PEM`, { at: { file }, fix });
}

/** Reads what stands beside the policies. Throws CountersignError E_POLICY_SIGNATURE. */
export function parsePolicySignature(json: string): PolicySignature {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = undefined;
  }
  const { version, signature } = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  if (typeof version === "number" && Number.isSafeInteger(version) && version >= 1 && typeof signature === "string")
    return { version, signature };
  throw new CountersignError("E_POLICY_SIGNATURE", 'the signature is not {"version": 1, "signature": "base64"}');
}

/** Throws CountersignError E_POLICY_SIGNATURE unless the key has signed exactly this text, name and version. */
export function verifyPolicies(
  text: string,
  name: string,
  { version, signature }: PolicySignature,
  key: KeyObject,
): void {
  if (verify(null, statement(text, name, version), key, Buffer.from(signature, "base64"))) return;
  throw new CountersignError(
    "E_POLICY_SIGNATURE",
    `the signature is not of these policies, the name ${JSON.stringify(name)} and version ${version} by the configured key`,
  );
}
