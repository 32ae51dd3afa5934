import type { CodeEntry } from "./code-entry.ts";

/** Of the parts of policies that reach beyond rules: expressions, tokens, providers, mutual TLS. */
export const conditionCodes = {
  E_POLICY_CONDITION: {
    meaning:
      "the CEL expression of a rule's conditions has an error, a wrong type, or something that is not known here",
    fix: "correct the expression at the place named; docs/authorization.md lists what it may ask",
  },
  E_POLICY_CONDITION_COST: {
    meaning: "the CEL expression of a rule's conditions could cost too much",
    fix: "make it shorter, or nest fewer of all, exists, filter and map",
  },
  E_POLICY_PROVIDER: {
    meaning: "a CUSTOM policy names a provider that is not configured, or one that cannot be asked about its calls",
    fix: "configure the provider, or name another",
  },
  E_POLICY_CUSTOM: {
    meaning:
      "a CUSTOM rule came to match a call when nobody could ask its provider any more: the destination's address or the time was another one by then",
    fix: "call again",
  },
  E_POLICY_MTLS: {
    meaning: "a PeerAuthentication would loosen what the listener demands",
    fix: "set the listener's mtls, or remove the document",
  },
  E_POLICY_URL: {
    meaning: "an address in a RequestAuthentication cannot be fetched, or not safely",
    fix: "write an https address without user name, password or fragment",
  },
  E_POLICY_JWKS: {
    meaning: "the keys in a RequestAuthentication are no JWK set",
    fix: "write the JWK set as JSON text",
  },
  E_POLICY_HEADER: {
    meaning: "a RequestAuthentication names a header that cannot be one, or that a claim must not become",
    fix: "write a name like x-jwt-user",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
