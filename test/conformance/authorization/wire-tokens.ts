import { createHmac } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
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
import type { Gate } from "./wire-gate.ts";

/** What a case says about tokens: how its RequestAuthentication differs from the usual one. */
export interface TokenSetting {
  /** More keys of the rule; null: without the one that it has. */
  readonly rule?: Readonly<Record<string, unknown>>;
  /** Fetched instead of written in the document, from a server that is like this. `sound`: it has a new key from the second time on;
   *  `held`: it answers when it is let; `discovered`: the rule names only the issuer. */
  readonly keys?: "sound" | "held" | "discovered" | "down" | "slow" | "huge" | "broken";
  /** Default: those of loopback, where the server is. */
  readonly addresses?: readonly string[];
}

export interface Tokens {
  readonly document: string;
  /** Top-level keys of countersign.yaml. */
  readonly config: string;
  /** Puts tokens in the place of `{token …}`. */
  fill(text: string): string;
  /** What `{payload}` stands for: the payload of the last token, as it was sent. */
  readonly payload: () => string;
  /** How often the keys were asked for. */
  keysFetched(): number;
  close(): Promise<void>;
}

const key = tokenKey("RS256", "rsa");
/** Of the same issuer, later. */
const newcomer = tokenKey("RS256", "new");
const stranger = tokenKey("RS256", "stranger");
const ca = createTestCa("idp.example.org");
const certificate = ca.issue({ dnsSans: ["localhost"] });

/** An issuer for one case. `folder` is where its CA goes; what its server answers goes through the gate. */
export async function caseTokens(
  { rule = {}, keys, addresses = ["127.0.0.0/8", "::1"] }: TokenSetting,
  folder: string,
  gate: Gate,
): Promise<Tokens> {
  if (keys === "held") gate.hold();
  const file = `${folder}/idp.pem`;
  writeFileSync(file, ca.bundlePem);
  const served = keys === undefined ? undefined : await serveDocuments(answerOf(keys, gate), certificate);
  const base = `https://localhost:${served?.port}`;
  const issuer = keys === "discovered" ? base : ISSUER;
  const uri = keys === "discovered" ? {} : { jwksUri: `${base}${KEYS}` };
  // Where an answer is to come, a busy machine has time for it.
  const timeout = keys === "slow" ? "300ms" : "30s";
  const source = served === undefined ? { jwks: jwkSet(key) } : { ...uri, timeout };
  const entries = Object.entries({ issuer, audiences: [AUDIENCE], ...source, ...rule });
  const jwtRule = Object.fromEntries(entries.filter(([, value]) => value !== null));
  let last = "";
  return {
    document: JSON.stringify({
      apiVersion: "security.istio.io/v1",
      kind: "RequestAuthentication",
      metadata: { name: "idp", namespace: "shop" },
      spec: { jwtRules: [jwtRule] },
    }),
    config: `requestAuthentication: { addresses: ${JSON.stringify(addresses)}, ca: "${file}" }`,
    fill: (text) =>
      text.replaceAll(/\{token(?: ([^}]*))?\}/g, (_, words: string | undefined) => {
        last = written(words ?? "", issuer);
        return last;
      }),
    payload: () => last.split(".")[1] ?? "",
    keysFetched: () => served?.asked.filter((path) => path === KEYS).length ?? 0,
    close: async () => {
      rmSync(file);
      await served?.close();
    },
  };
}

const KEYS = "/keys";

function answerOf(
  keys: NonNullable<TokenSetting["keys"]>,
  gate: Gate,
): (asked: IncomingMessage, to: ServerResponse) => void {
  let sets = 0;
  return (request, response) => {
    switch (keys) {
      case "sound":
      case "held":
      case "discovered":
        if (request.url === KEYS) {
          const set = sets++ === 0 ? jwkSet(key) : jwkSet(key, newcomer);
          gate.pass(() => response.end(set));
        } else {
          const issuer = `https://${request.headers.host}`;
          response.end(JSON.stringify({ issuer, jwks_uri: `${issuer}${KEYS}` }));
        }
        return;
      case "down":
        response.destroy();
        return;
      case "broken":
        response.end("<html>");
        return;
      case "huge":
        response.end(JSON.stringify({ padding: "x".repeat(2 ** 20), keys: [key.jwk] }));
        return;
      case "slow": // for ever
    }
  };
}

/** `sub=bob exp=-60 alg=HS256`: a token with these differences from a sound one. */
function written(words: string, issuer: string): string {
  const claims: Record<string, unknown> = { ...soundClaims(), iss: issuer };
  let { kid } = key;
  let by: TokenKey = key;
  let alg = "RS256";
  let size = 0;
  let crit: readonly string[] | undefined;
  for (const word of words.split(" ").filter((some) => some !== "")) {
    const [name = "", value = ""] = word.split("=");
    if (name === "alg") alg = value;
    else if (name === "size") size = Number(value);
    else if (name === "kid") {
      kid = value;
      by = value === newcomer.kid ? newcomer : stranger;
    } else if (name === "crit") crit = [value];
    else if (value === "none") claims[name] = undefined;
    else if (name === "exp" || name === "nbf") claims[name] = Math.floor(Date.now() / 1000) + Number(value);
    else claims[name] = value;
  }
  const header = { alg, typ: "JWT", kid, crit, ...(crit === undefined ? {} : { [crit.join()]: true }) };
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
