import type { CodeEntry } from "./code-entry.ts";

export const doctorCodes = {
  E_DOCTOR_SOCKET: {
    meaning: "the Workload API's socket is not there, is something else, or may not be opened",
    fix: "correct identity.workloadApi.address, start the agent, or let the sidecar's user open the socket",
  },
  E_DOCTOR_CLOCK: {
    meaning: "this machine's clock and the identity provider's are too far apart",
    fix: "let both machines set their clocks by NTP",
  },
  E_DOCTOR_BUNDLE_GAP: {
    meaning: "a trust domain that the configuration names has no trust bundle",
    fix: "federate with that trust domain: at the agent's server, or in identity.files.bundles or federatesWith",
  },
  E_DOCTOR_JWT_BUNDLE: {
    meaning: "inbound JWT-SVIDs are asked for, and there is no JWT authority to prove them with",
    fix: "use an agent that serves FetchJWTBundles, or a bundle document (JWKS) instead of PEM",
  },
  E_DOCTOR_PEER_EXPECTS: {
    meaning: "another sidecar's configuration expects a SPIFFE ID here that our SVID does not have",
    fix: "correct the peer's outbound[].identity, or the entry that gives us our SVID",
  },
  E_DOCTOR_PEER_REFUSES: {
    meaning: "a server proved who it is, then ended the connection at once: it refuses us",
    fix: "look for E_CHAIN_ or E_SVID_ codes in that server's audit log; most often it lacks our trust domain's bundle",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
