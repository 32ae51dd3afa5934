import type { CodeEntry } from "./code-entry.ts";

const another = "fetch a new JWT-SVID for this audience, and look at the issuer that signed this one";

export const jwtSvidCodes = {
  E_JWT_SVID_MISSING: {
    meaning: "a call has no JWT-SVID where the listener requires one",
    fix: "call through a sidecar with outbound[].jwtSvid, or send one in the configured header",
  },
  E_JWT_SVID_SEVERAL: {
    meaning: "a call has several JWT-SVIDs, or something else beside one in the same header",
    fix: "send exactly one",
  },
  E_JWT_SVID_CONFLICT: {
    meaning: "an app sent a token of its own in the header where the sidecar puts its JWT-SVID",
    fix: "name another header in outbound[].jwtSvid, or stop sending the app's token to this destination",
  },
  E_JWT_SVID_NONE: {
    meaning: "the sidecar has no JWT-SVID for the audience of an outbound call",
    fix: "look at the detail: it says what the identity source answered",
  },
  E_JWT_SVID_PLAINTEXT: {
    meaning: "a JWT-SVID came over a connection without a verified client",
    fix: "call over mutual TLS, or set inbound[].jwtSvid.plaintext: true where something you trust ends TLS in front",
  },
  E_JWT_SVID_TOO_LONG: {
    meaning: "a JWT-SVID is longer than 16384 characters",
    fix: another,
  },
  E_JWT_SVID_MALFORMED: {
    meaning: "a JWT-SVID is no compact JWS of two JSON objects and a signature",
    fix: another,
  },
  E_JWT_SVID_ALGORITHM: {
    meaning: "a JWT-SVID's alg is none of RS, ES and PS with 256, 384 or 512, or not one for its key",
    fix: another,
  },
  E_JWT_SVID_TYPE: {
    meaning: "a JWT-SVID's typ is neither absent nor JWT nor JOSE",
    fix: another,
  },
  E_JWT_SVID_CRITICAL: {
    meaning: "a JWT-SVID's header has a critical extension",
    fix: another,
  },
  E_JWT_SVID_KEY_ID: {
    meaning: "a JWT-SVID's header has no kid",
    fix: "use an issuer that writes kid, as SPIRE and countersign issuer do",
  },
  E_JWT_SVID_SUBJECT: {
    meaning: "a JWT-SVID's sub is no SPIFFE ID of a workload",
    fix: another,
  },
  E_JWT_SVID_AUDIENCE: {
    meaning: "a JWT-SVID is for another audience",
    fix: "fetch it for the audience that inbound[].jwtSvid names",
  },
  E_JWT_SVID_CLAIM: {
    meaning: "a JWT-SVID lacks a required claim, or has one of the wrong type",
    fix: another,
  },
  E_JWT_SVID_EXPIRED: {
    meaning: "a JWT-SVID has expired",
    fix: "fetch a new one; compare the clocks of both machines",
  },
  E_JWT_SVID_NOT_YET_VALID: {
    meaning: "a JWT-SVID is from the future",
    fix: "compare the clocks of both machines and of the issuer",
  },
  E_JWT_SVID_NO_BUNDLE: {
    meaning: "there is no JWT bundle for the trust domain of a JWT-SVID's sub",
    fix: "federate with that trust domain, or find out who calls",
  },
  E_JWT_SVID_KEY_UNKNOWN: {
    meaning: "a JWT-SVID's kid names no key of its trust domain",
    fix: "check that the trust domain's bundle is current",
  },
  E_JWT_SVID_SIGNATURE: {
    meaning: "a JWT-SVID's signature does not hold",
    fix: another,
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
