import type { CodeEntry } from "./code-entry.ts";

export const identityCodes = {
  E_SPIFFE_ID: {
    meaning: "a text is not a valid SPIFFE ID",
    fix: "write it as spiffe://trust-domain/path, lower-case trust domain, no trailing slash",
  },
  E_TRUST_DOMAIN: {
    meaning: "a text is not a valid trust domain",
    fix: "use 1 to 255 of a-z 0-9 . _ -",
  },
  E_IDENTITY_NONE: {
    meaning: "no SVID has been received yet",
    fix: "look at the readiness page: it says what the identity source answered",
  },
  E_IDENTITY_TIMEOUT: {
    meaning: "no SVID arrived within 60 s of the start",
    fix: "check that the agent runs and has an entry for this workload",
  },
  E_IDENTITY_EXPIRED: {
    meaning: "our own SVID has expired and no newer one came",
    fix: "check the identity source; calls fail closed until it answers",
  },
  E_PEER_NO_CERTIFICATE: {
    meaning: "the peer presented no certificate",
    fix: "present an X.509-SVID",
  },
  E_PEER_WRONG_IDENTITY: {
    meaning: "the server proved another SPIFFE ID than the one configured",
    fix: "correct outbound[].identity, or find out who answers at that address",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
