import type { JwtRuleModel } from "../../src/authz/authentication-model.ts";
import { AUDIENCE, ISSUER } from "./token-issuer.ts";

/** A jwtRule as the loader gives it, sound but for what is changed. */
export const jwtRule = (change: Partial<JwtRuleModel> = {}): JwtRuleModel => ({
  issuer: ISSUER,
  audiences: [AUDIENCE],
  jwksUri: "https://idp.example.org/jwks",
  jwks: undefined,
  fromHeaders: [{ name: "authorization", prefix: "Bearer " }],
  fromParams: ["access_token"],
  fromCookies: [],
  outputPayloadToHeader: undefined,
  outputClaimToHeaders: [],
  spaceDelimitedClaims: ["scope", "permission"],
  forwardOriginalToken: false,
  timeoutMs: 5000,
  at: { file: "policies.yaml", line: 1, column: 1 },
  ...change,
});
