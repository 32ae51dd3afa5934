import { createHmac } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { createTestCa } from "../../support/cert-factory.ts";
import {
  AUDIENCE,
  ISSUER,
  jwkSet,
  rawToken,
  serveDocuments,
  signature,
  soundClaims,
  type TokenKey,
  tokenKey,
} from "../../support/token-issuer.ts";

/** What a case says about tokens: how its RequestAuthentication differs from the usual one. */
export interface TokenSetting {
  /** More keys of the rule. */
  readonly rule?: Readonly<Record<string, unknown>>;
  /** Fetched instead of written in the document, from a server that is like this. */
  readonly keys?: "sound" | "down" | "slow" | "huge" | "broken";
}

export interface Tokens {
  readonly document: string;
  /** Top-level keys of countersign.yaml. */
  readonly config: string;
  /** Puts tokens in the place of `{token …}`. */
  fill(text: string): string;
  close(): Promise<void>;
}

const key = tokenKey("RS256", "rsa");
const stranger = tokenKey("RS256", "stranger");
const ca = createTestCa("idp.example.org");
const certificate = ca.issue({ dnsSans: ["localhost"] });

/** An issuer for one case. `folder` is where its CA goes. */
export async function caseTokens({ rule = {}, keys }: TokenSetting, folder: string): Promise<Tokens> {
  const file = `${folder}/idp.pem`;
  writeFileSync(file, ca.bundlePem);
  const served =
    keys === undefined
      ? undefined
      : await serveDocuments((_, response) => {
          if (keys === "sound") response.end(jwkSet(key));
          if (keys === "down") response.destroy();
          if (keys === "broken") response.end("<html>");
          if (keys === "huge") response.end(JSON.stringify({ padding: "x".repeat(2 ** 20), keys: [key.jwk] }));
        }, certificate);
  const source =
    served === undefined
      ? { jwks: jwkSet(key) }
      : { jwksUri: `https://localhost:${served.port}/keys`, timeout: "300ms" };
  return {
    document: JSON.stringify({
      apiVersion: "security.istio.io/v1",
      kind: "RequestAuthentication",
      metadata: { name: "idp", namespace: "shop" },
      spec: { jwtRules: [{ issuer: ISSUER, audiences: [AUDIENCE], ...source, ...rule }] },
    }),
    config: `requestAuthentication: { addresses: ["127.0.0.0/8", "::1"], ca: "${file}" }`,
    fill: (text) => text.replaceAll(/\{token(?: ([^}]*))?\}/g, (_, words: string | undefined) => written(words ?? "")),
    close: async () => {
      rmSync(file);
      await served?.close();
    },
  };
}

/** `sub=bob exp=-60 alg=HS256`: a token with these differences from a sound one. */
function written(words: string): string {
  const claims: Record<string, unknown> = soundClaims();
  let { kid } = key;
  let by: TokenKey = key;
  let alg = "RS256";
  let size = 0;
  for (const word of words.split(" ").filter((some) => some !== "")) {
    const [name = "", value = ""] = word.split("=");
    if (name === "alg") alg = value;
    else if (name === "size") size = Number(value);
    else if (name === "kid") {
      kid = value;
      by = stranger;
    } else if (value === "none") claims[name] = undefined;
    else if (name === "exp" || name === "nbf") claims[name] = Math.floor(Date.now() / 1000) + Number(value);
    else claims[name] = value;
  }
  const header = { alg, typ: "JWT", kid };
  // As a forger would: with what everybody knows.
  const shared = key.publicKey.export({ type: "spki", format: "pem" });
  const sign =
    alg === "none"
      ? () => Buffer.alloc(0)
      : alg === "HS256"
        ? (input: string) => createHmac("sha256", shared).update(input).digest()
        : signature(by);
  return rawToken(header, claims, sign) + "A".repeat(size);
}
