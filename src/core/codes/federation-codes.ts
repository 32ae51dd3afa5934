import type { CodeEntry } from "./code-entry.ts";

export const federationCodes = {
  E_FEDERATION_UNREACHABLE: {
    meaning: "a bundle endpoint cannot be reached, or does not answer in time",
    fix: "check federatesWith[].url and the network; the last good bundle stays in use and it is retried",
  },
  E_FEDERATION_TLS: {
    meaning: "a bundle endpoint's TLS handshake failed, or its web certificate is not accepted",
    fix: "check the certificate of the endpoint; a private web CA is named by federatesWith[].roots",
  },
  E_FEDERATION_IDENTITY: {
    meaning: "a bundle endpoint did not prove the SPIFFE ID that is configured for it",
    fix: "correct endpointId, or find out who answers at that URL; if the partner lost its keys, give a new bootstrap bundle",
  },
  E_FEDERATION_BOOTSTRAP: {
    meaning: "there is no bundle with which a bundle endpoint of profile https_spiffe could be verified",
    fix: "give federatesWith[].bootstrap: the partner's bundle, brought over a way that you trust",
  },
  E_FEDERATION_ANSWER: {
    meaning: "a bundle endpoint answered with something else than a bundle document (redirects are not followed)",
    fix: "name the URL that serves the document itself with status 200",
  },
  E_FEDERATION_TOO_LARGE: {
    meaning: "a bundle endpoint's answer is larger than 1 MiB",
    fix: "check that the URL is that of a bundle endpoint",
  },
  E_FEDERATION_SEQUENCE: {
    meaning: "a bundle endpoint served an older bundle than the one in use",
    fix: "find out why the partner went back; to accept it anyway, give a new bootstrap bundle",
  },
  E_FEDERATION_STATE: {
    meaning: "the last good bundle of a partner cannot be kept or read",
    fix: "check the owner, mode and space of the state folder",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
