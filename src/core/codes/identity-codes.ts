import type { CodeEntry } from "./code-entry.ts";

const reissue = "have the issuer of this certificate issue another one";

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
  E_IDENTITY_REVOKED: {
    meaning: "the identity source took our SVID away",
    fix: "restore the entry for this workload; calls fail closed until then",
  },
  E_IDENTITY_HINT: {
    meaning: "no SVID of the identity source has the configured hint",
    fix: "correct identity.workloadApi.hint, or give the entry that hint",
  },
  E_IDENTITY_FILE: {
    meaning: "a file of identity.files cannot be read",
    fix: "check its path, permissions and size",
  },
  E_IDENTITY_KEY: {
    meaning: "a private key cannot be read",
    fix: "give one unencrypted PEM private key: PKCS#8, SEC 1 or PKCS#1",
  },
  E_IDENTITY_KEY_MISMATCH: {
    meaning: "a private key does not belong to its certificate",
    fix: "write certificate and key of the same issuance; a pair that is half-written is retried by itself",
  },
  E_PEM: {
    meaning: "a text that should be PEM is not",
    fix: "give whole -----BEGIN … to -----END … blocks of base64",
  },
  E_BUNDLE_FORMAT: {
    meaning: "a trust bundle is neither certificates nor a SPIFFE bundle document",
    fix: "give PEM certificates, or JSON with keys of use x509-svid and one x5c each",
  },
  E_BUNDLE_EMPTY: {
    meaning: "a trust bundle has no X.509 authority",
    fix: "publish an authority; until then every SVID of that trust domain is refused",
  },
  E_CRL_FORMAT: {
    meaning: "a certificate revocation list cannot be used",
    fix: "give complete DER CRLs (RFC 5280), neither delta nor indirect",
  },
  E_WORKLOAD_API_ADDRESS: {
    meaning: "the Workload API address is missing or not one that can be used",
    fix: "write unix:///absolute/path or tcp://127.0.0.1:port, in the configuration or SPIFFE_ENDPOINT_SOCKET",
  },
  E_WORKLOAD_API_UNAVAILABLE: {
    meaning: "the Workload API does not answer",
    fix: "check that the agent runs and that its socket may be opened; it is retried",
  },
  E_WORKLOAD_API_DENIED: {
    meaning: "the Workload API has no identity for this workload",
    fix: "create an entry whose selectors match this process; it is retried",
  },
  E_WORKLOAD_API_REFUSED: {
    meaning: "the Workload API refuses this client for good",
    fix: "check that the address is that of a SPIFFE Workload API; then restart or reload",
  },
  E_WORKLOAD_API_MESSAGE: {
    meaning: "a message of the Workload API breaks its standard and was dropped",
    fix: "look at the agent; the last good identity stays in use",
  },
  E_CERT_DER: {
    meaning: "a certificate is not strict DER",
    fix: reissue,
  },
  E_CERT_VERSION: {
    meaning: "a certificate is not of X.509 version 3",
    fix: reissue,
  },
  E_CERT_EXTENSION_DUPLICATE: {
    meaning: "a certificate has an extension twice",
    fix: reissue,
  },
  E_CERT_EXTENSION_CRITICAL: {
    meaning: "a certificate has a critical extension that is not understood",
    fix: `${reissue}, without that extension or not critical`,
  },
  E_CERT_SIGNATURE_MISMATCH: {
    meaning: "a certificate names two different signature algorithms",
    fix: reissue,
  },
  E_CERT_SIGNATURE_WEAK: {
    meaning: "a certificate is signed with SHA-1, MD5 or another algorithm that is not accepted",
    fix: "sign with ECDSA or RSA and SHA-256, SHA-384 or SHA-512, or with Ed25519",
  },
  E_CERT_KEY_TYPE: {
    meaning: "a certificate's key is of a kind that is not accepted",
    fix: "use P-256, P-384, P-521, Ed25519, or RSA of 2048 to 4096 bits",
  },
  E_CERT_KEY_CURVE: {
    meaning: "a certificate's key is on a curve that is not accepted",
    fix: "use P-256, P-384 or P-521",
  },
  E_CERT_KEY_EXPLICIT_CURVE: {
    meaning: "a certificate's key writes its curve parameters out",
    fix: "name the curve: P-256, P-384 or P-521",
  },
  E_CERT_KEY_SIZE: {
    meaning: "a certificate's RSA key is below 2048 or above 4096 bits",
    fix: "use RSA of 2048 to 4096 bits, or P-256",
  },
  E_CERT_KEY_UNSOUND: {
    meaning: "a certificate's key is none with which a signature could be trusted",
    fix: reissue,
  },
  E_CERT_NOT_YET_VALID: {
    meaning: "a certificate is not valid yet",
    fix: "compare the clocks of both machines and of the issuer",
  },
  E_CERT_EXPIRED: {
    meaning: "a certificate has expired",
    fix: "check that its owner gets rotations, and compare the clocks",
  },
  E_SVID_URI_MISSING: {
    meaning: "a leaf certificate has no URI SAN",
    fix: "issue it with its SPIFFE ID as the one URI SAN",
  },
  E_SVID_URI_SEVERAL: {
    meaning: "a leaf certificate has several URI SANs",
    fix: "issue it with its SPIFFE ID as the one URI SAN",
  },
  E_SVID_SPIFFE_ID: {
    meaning: "a leaf certificate's URI SAN is not a valid SPIFFE ID",
    fix: "issue it with spiffe://trust-domain/path, lower-case trust domain, no trailing slash",
  },
  E_SVID_PATH_EMPTY: {
    meaning: "a leaf certificate's SPIFFE ID is that of a whole trust domain",
    fix: "issue it with a path that names the workload",
  },
  E_SVID_LEAF_IS_CA: {
    meaning: "a CA certificate was presented as an SVID",
    fix: "present a leaf certificate, first in the chain",
  },
  E_SVID_KEY_USAGE_ABSENT: {
    meaning: "a leaf certificate has no key usage",
    fix: "issue it with a critical key usage of digitalSignature",
  },
  E_SVID_KEY_USAGE_NOT_CRITICAL: {
    meaning: "a leaf certificate's key usage is not critical",
    fix: "issue it with a critical key usage of digitalSignature",
  },
  E_SVID_KEY_USAGE_NO_SIGNATURE: {
    meaning: "a leaf certificate's key usage lacks digitalSignature",
    fix: "issue it with a critical key usage of digitalSignature",
  },
  E_SVID_KEY_USAGE_SIGNS: {
    meaning: "a leaf certificate's key usage allows signing certificates or CRLs",
    fix: "issue it without keyCertSign and cRLSign",
  },
  E_SVID_EXTENDED_KEY_USAGE: {
    meaning: "a leaf certificate's extended key usage lacks serverAuth or clientAuth",
    fix: "issue it with both, or without the extension",
  },
  E_CHAIN_TOO_LONG: {
    meaning: "a chain has more certificates than are looked at",
    fix: "present the leaf and at most seven intermediates",
  },
  E_CHAIN_NOT_CA: {
    meaning: "an intermediate is no CA certificate",
    fix: "present the leaf, then only the CAs above it",
  },
  E_CHAIN_KEY_USAGE_ABSENT: {
    meaning: "an intermediate has no key usage",
    fix: "issue the intermediate with a key usage of keyCertSign",
  },
  E_CHAIN_KEY_USAGE: {
    meaning: "an intermediate's key usage lacks keyCertSign",
    fix: "issue the intermediate with a key usage of keyCertSign",
  },
  E_CHAIN_EXTENDED_KEY_USAGE: {
    meaning: "an intermediate's extended key usage excludes serverAuth or clientAuth",
    fix: "issue the intermediate with both, or without the extension",
  },
  E_CHAIN_PATH_LENGTH: {
    meaning: "a CA stands above more CAs than its path length allows",
    fix: "raise the path length, or issue from the CA directly",
  },
  E_CHAIN_NAME_CONSTRAINTS: {
    meaning: "a certificate has a name that a CA above it does not permit",
    fix: "issue from a CA whose name constraints permit the trust domain",
  },
  E_CHAIN_NO_BUNDLE: {
    meaning: "there is no trust bundle for the certificate's trust domain",
    fix: "federate with that trust domain, or find out who calls",
  },
  E_CHAIN_UNTRUSTED: {
    meaning: "a chain does not end in an authority of its own trust domain",
    fix: "present every intermediate, and check that the trust bundle is current",
  },
  E_CHAIN_SIGNATURE: {
    meaning: "a certificate names an issuer whose signature it does not carry",
    fix: "check that the trust bundle is current: a new authority may have the name of an old one",
  },
  E_CHAIN_AUTHORITY: {
    meaning: "a chain ends in an authority that may not sign certificates",
    fix: "replace that authority in the trust bundle",
  },
  E_PEER_NO_CERTIFICATE: {
    meaning: "the peer presented no certificate",
    fix: "present an X.509-SVID",
  },
  E_PEER_WRONG_IDENTITY: {
    meaning: "the server proved another SPIFFE ID than the one configured",
    fix: "correct outbound[].identity, or find out who answers at that address",
  },
  E_PEER_REVOKED: {
    meaning: "a certificate of the chain is on a revocation list of its issuer",
    fix: "issue a new SVID; find out why the old one was revoked",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
