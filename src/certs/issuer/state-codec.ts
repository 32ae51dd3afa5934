import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { type JwtAuthority, jwtKeyTypeOf } from "./jwt-authority.ts";
import type { AuthoritySet } from "./trust-bundle.ts";
import { authorityOf, type X509Authority } from "./x509-authority.ts";

/** 1 knew neither CAs above ours nor settled activations. */
const FORMAT = 2;
const READABLE: ReadonlySet<unknown> = new Set([1, 2]);

const pkcs8 = (key: KeyObject): string => key.export({ format: "pem", type: "pkcs8" }).toString();

/** The state as JSON text. It holds every secret of the issuer. */
export function encodeState({ trustDomain, sequence, x509, jwt }: AuthoritySet): string {
  const document = {
    format: FORMAT,
    trustDomain,
    sequence,
    x509: x509.map(({ certificate, key, chain, anchors, createdMs, activatesMs }) => ({
      createdMs,
      activatesMs,
      certificate: certificate.toString(),
      key: pkcs8(key),
      chain: chain.map(String),
      anchors: anchors.map(String),
    })),
    jwt: jwt.map(({ keyId, key, createdMs, notAfterMs, activatesMs }) => ({
      createdMs,
      notAfterMs,
      activatesMs,
      keyId,
      key: pkcs8(key),
    })),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** Its message is ours, and safe to show. */
export class DamagedState extends Error {}

/** Throws DamagedState, or an error whose message may quote the text. */
export function decodeState(bytes: Buffer): AuthoritySet {
  const document = fieldsOf(JSON.parse(bytes.toString("utf8")));
  if (!READABLE.has(document["format"])) throw new DamagedState("has a format that this version does not know");
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
  const certificates = (name: string): readonly X509Certificate[] =>
    listOf(fields[name]).map((pem) => new X509Certificate(textOf(pem)));
  const isOld = fields["anchors"] === undefined;
  const anchors = isOld ? [certificate] : certificates("anchors");
  if (anchors.length === 0) throw new DamagedState("holds a CA that nobody trusts");
  return authorityOf({
    certificate,
    key,
    chain: isOld ? [] : certificates("chain"),
    anchors,
    createdMs: numberOf(fields["createdMs"]),
    activatesMs: optionalNumberOf(fields["activatesMs"]),
  });
}

function decodeJwt(value: unknown): JwtAuthority {
  const fields = fieldsOf(value);
  const key = createPrivateKey(textOf(fields["key"]));
  if (jwtKeyTypeOf(key) === undefined) throw new DamagedState("holds a JWT key of a kind that this issuer never makes");
  return {
    keyId: textOf(fields["keyId"]),
    key,
    createdMs: numberOf(fields["createdMs"]),
    notAfterMs: numberOf(fields["notAfterMs"]),
    activatesMs: optionalNumberOf(fields["activatesMs"]),
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

function optionalNumberOf(value: unknown): number | undefined {
  return value === undefined ? undefined : numberOf(value);
}
