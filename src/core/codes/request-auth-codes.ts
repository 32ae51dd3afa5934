import type { CodeEntry } from "./code-entry.ts";

export const requestAuthCodes = {
  E_JWT_MALFORMED: {
    meaning: "a request's token is no JWT: not three base64url parts with a JSON header and a JSON claims set",
    fix: "send a signed JWT (RFC 7519) in compact form",
  },
  E_JWT_TOO_LONG: {
    meaning: "a request's token is longer than 16 KiB",
    fix: "put less into the token",
  },
  E_JWT_TWO_TOKENS: {
    meaning: "a request brought more than one token, and it is not clear which one speaks",
    fix: "send one token in one place",
  },
  E_JWT_ISSUER: {
    meaning: "no jwtRule takes tokens of this issuer",
    fix: "use a token of an issuer that a RequestAuthentication names, or add a jwtRule for it",
  },
  E_JWT_AUDIENCE: {
    meaning: "a request's token is for another audience",
    fix: "ask the issuer for a token whose aud is one of the jwtRule's audiences",
  },
  E_JWT_EXPIRED: {
    meaning: "a request's token has expired",
    fix: "get a new token; if it is new, compare the clocks of both machines",
  },
  E_JWT_NOT_YET_VALID: {
    meaning: "a request's token is not valid yet (nbf)",
    fix: "compare the clocks of issuer and sidecar",
  },
  E_JWT_CLAIMS: {
    meaning: "a request's token lacks a claim that it must have, or has one of the wrong kind",
    fix: "have the issuer set the claim that the record names",
  },
  E_JWT_ALGORITHM: {
    meaning: "a request's token is not signed by an asymmetric algorithm that fits a key of its issuer",
    fix: "have the issuer sign by RS256, PS256, ES256 or EdDSA, with the key that it publishes for it",
  },
  E_JWT_CRITICAL: {
    meaning: "a request's token has a crit header: an extension that must be understood, and is not",
    fix: "have the issuer leave crit out",
  },
  E_JWT_KEY_UNKNOWN: {
    meaning: "the issuer's key set has no key for a request's token",
    fix: "check that the issuer publishes the key; a new one is looked for at most every 30 seconds",
  },
  E_JWT_SIGNATURE: {
    meaning: "the signature of a request's token does not hold",
    fix: "find out who made the token: it was not this issuer",
  },
  E_JWKS_UNAVAILABLE: {
    meaning: "a request's token could not be verified: the issuer's keys have not been fetched, or are too old",
    fix: "see the event jwks.failed, or the status, for why the fetch fails",
  },
  E_JWKS_FETCH: {
    meaning:
      "an issuer's key set could not be fetched: no connection, no answer in time, a redirect or an error status",
    fix: "check that jwksUri (or the issuer's discovery document) answers 200 directly",
  },
  E_JWKS_ADDRESS: {
    meaning: "an issuer's key set would have to be fetched from an address that is closed, or without TLS",
    fix: "use an https URL; list private addresses in requestAuthentication.addresses",
  },
  E_JWKS_TOO_LARGE: {
    meaning: "an issuer's key set or discovery document is larger than 1 MiB, or has more than 256 keys",
    fix: "check that the URL is the one of the key set",
  },
  E_JWKS_CONTENT: {
    meaning: "an issuer's key set or discovery document is not what it should be, or has no key that may verify",
    fix: "publish a JWK set (RFC 7517) with RSA, EC or Ed25519 public keys",
  },
  E_EXT_AUTHZ_DENIED: {
    meaning: "the external authorization provider that a CUSTOM policy names denied the call",
    fix: "see the provider's own log for the decision",
  },
  E_EXT_AUTHZ_FAILED: {
    meaning:
      "the external authorization provider could not be reached or asked, or its answer was not valid: the call is denied",
    fix: "check that the provider runs and listens at service and port of its extensionProviders item, and set packAsBytes there if the record says that a body is no text",
  },
  E_EXT_AUTHZ_TIMEOUT: {
    meaning:
      "the external authorization provider did not answer in time, or had no time to be asked about a call that was open when policies changed: the call is denied",
    fix: "find out why the provider is slow, or raise timeout in its extensionProviders item",
  },
  E_EXT_AUTHZ_BODY_TOO_LARGE: {
    meaning: "a request's body is longer than the external authorization provider may be shown",
    fix: "send less, raise maxRequestBytes in the provider's includeRequestBodyInCheck, or set allowPartialMessage there",
  },
  E_EXT_AUTHZ_BODY_PASSED: {
    meaning:
      "the policies changed while a call was open, and a provider that wants its body can't be shown it: it had gone on to the app",
    fix: "let the caller repeat the call",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
