import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import type { JwtAuthority } from "./jwt-authority.ts";
import type { AuthoritySet } from "./trust-bundle.ts";
import { authorityOf, type X509Authority } from "./x509-authority.ts";

const FORMAT = 1;

const pkcs8 = (key: KeyObject): string => key.export({ format: "pem", type: "pkcs8" }).toString();

/** The state as JSON text. It holds every secret of the issuer. */
export function encodeState({ trustDomain, sequence, x509, jwt }: AuthoritySet): string {
  const document = {
    format: FORMAT,
    trustDomain,
    sequence,
    x509: x509.map(({ certificate, key, createdMs }) => ({
      createdMs,
      certificate: certificate.toString(),
      key: pkcs8(key),
    })),
    jwt: jwt.map(({ keyId, key, createdMs, notAfterMs }) => ({ createdMs, notAfterMs, keyId, key: pkcs8(key) })),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** Its message is ours, and safe to show. */
export class DamagedState extends Error {}

/** Throws DamagedState, or an error whose message may quote the text. */
export function decodeState(bytes: Buffer): AuthoritySet {
  const document = fieldsOf(JSON.parse(bytes.toString("utf8")));
  if (document["format"] !== FORMAT) throw new DamagedState("has a format that this version does not know");
  return {
    trustDomain: textOf(document["trustDomain"]) as TrustDomain,
    sequence: numberOf(document["sequence"]),
    x509: listOf(document["x509"]).map(decodeX509),
    jwt: listOf(document["jwt"]).map(decodeJwt),
  };
}

function decodeX509(value: unknown): X509Authority {
  const fields = fieldsOf(value);
  const certificate = new X509Certificate(textOf(fields["certificate"]));
  const key = createPrivateKey(textOf(fields["key"]));
  if (!certificate.ca || !certificate.checkPrivateKey(key))
    throw new DamagedState("holds a CA certificate and a key that do not belong together");
  return authorityOf(certificate, key, numberOf(fields["createdMs"]));
}

function decodeJwt(value: unknown): JwtAuthority {
  const fields = fieldsOf(value);
  const key = createPrivateKey(textOf(fields["key"]));
  if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1")
    throw new DamagedState("holds a JWT key that is no P-256 key");
  return {
    keyId: textOf(fields["keyId"]),
    key,
    createdMs: numberOf(fields["createdMs"]),
    notAfterMs: numberOf(fields["notAfterMs"]),
  };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) throw new DamagedState("lacks a part");
  return value as Readonly<Record<string, unknown>>;
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new DamagedState("lacks a list of authorities");
  return value;
}

function textOf(value: unknown): string {
  if (typeof value !== "string" || value === "") throw new DamagedState("lacks a text");
  return value;
}

function numberOf(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new DamagedState("lacks a number");
  return value;
}
