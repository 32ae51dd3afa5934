// An issuer of end users' tokens for tests, sound by default and with any defect on request.
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TestIssued } from "./cert-factory.ts";

export type TokenAlgorithm = "RS256" | "PS256" | "ES256" | "EdDSA";

export interface TokenKey {
  readonly kid: string | undefined;
  readonly algorithm: TokenAlgorithm;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** As a member of a JWK set. */
  readonly jwk: Readonly<Record<string, unknown>>;
}

export function tokenKey(algorithm: TokenAlgorithm, kid?: string): TokenKey {
  const { privateKey, publicKey } =
    algorithm === "ES256"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : algorithm === "EdDSA"
        ? generateKeyPairSync("ed25519")
        : generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = { ...publicKey.export({ format: "jwk" }), ...(kid === undefined ? {} : { kid }) };
  return { kid, algorithm, privateKey, publicKey, jwk };
}

const part = (value: object | string): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** A compact JWS over exactly these texts or objects; `signature` replaces the key's. */
export function rawToken(
  header: object | string,
  payload: object | string,
  signature: (input: string) => Buffer,
): string {
  const input = `${part(header)}.${part(payload)}`;
  return `${input}.${signature(input).toString("base64url")}`;
}

export function signature(key: TokenKey): (input: string) => Buffer {
  return (input) => {
    const bytes = Buffer.from(input);
    switch (key.algorithm) {
      case "ES256":
        return sign("sha256", bytes, { key: key.privateKey, dsaEncoding: "ieee-p1363" });
      case "PS256":
        return sign("sha256", bytes, { key: key.privateKey, padding: 6, saltLength: 32 });
      case "RS256":
        return sign("sha256", bytes, key.privateKey);
      case "EdDSA":
        return sign(null, bytes, key.privateKey);
    }
  };
}

export const ISSUER = "https://idp.example.org";
export const AUDIENCE = "orders";

/** Claims of a sound token at `nowMs`. */
export function soundClaims(nowMs: number = Date.now()): Record<string, unknown> {
  const now = Math.floor(nowMs / 1000);
  return { iss: ISSUER, sub: "alice", aud: AUDIENCE, iat: now, exp: now + 600 };
}

/** A token with these claims instead of, or beside, the sound ones. */
export function token(key: TokenKey, claims: object = {}, header: object = {}, nowMs?: number): string {
  const { algorithm: alg, kid } = key;
  const head = { alg, typ: "JWT", ...(kid === undefined ? {} : { kid }), ...header };
  return rawToken(head, { ...soundClaims(nowMs), ...claims }, signature(key));
}

export const jwkSet = (...keys: readonly TokenKey[]): string => JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });

export interface TestDocuments {
  readonly port: number;
  /** Paths that were asked for, in order. */
  readonly asked: string[];
  close(): Promise<void>;
}

/** Serves an issuer's documents on 127.0.0.1: by TLS with a certificate for `localhost`, else in plaintext. */
export async function serveDocuments(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  tls?: TestIssued,
): Promise<TestDocuments> {
  const asked: string[] = [];
  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    asked.push(request.url ?? "");
    response.on("error", () => undefined);
    answer(request, response);
  };
  const server: Server =
    tls === undefined ? createServer(handler) : createTlsServer({ cert: tls.chainPem, key: tls.keyPem }, handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
