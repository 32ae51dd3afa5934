import type { CodeEntry } from "./code-entry.ts";

export const issuerCodes = {
  E_SYS_UNAVAILABLE: {
    meaning: "this system cannot tell who is at the other end of a local socket",
    fix: "run on Linux with the Node that comes with countersign (26.1 or later, which has node:ffi)",
  },
  E_PEER_CREDENTIALS: {
    meaning:
      "the kernel's facts about a local peer could not be read, changed while they were read, or cannot be trusted",
    fix: "let the workload connect again, from the issuer's own mount, pid and user namespace",
  },
  E_HASH_LIMIT: {
    meaning: "an executable was not hashed because it is too large or too much was hashed lately",
    fix: "try again in a minute, or drop the unix:sha256 selector",
  },
  E_ISSUER_STATE: {
    meaning: "the issuer's state folder or file is damaged, of another trust domain, or open to other users",
    fix: "restore it from a backup, or correct its owner and mode (folder 0700, file 0600)",
  },
  E_ISSUER_STATE_LOCKED: {
    meaning: "another issuer uses the same state folder",
    fix: "stop the other issuer, or give this one a state folder of its own",
  },
  E_ISSUER_NO_STATE: {
    meaning: "the state folder holds no certificate authority yet",
    fix: "start `countersign issuer run` once with the same issuer.yaml",
  },
  E_ISSUER_SOCKET: {
    meaning: "the Workload API socket cannot be opened safely",
    fix: "use a folder that only root or the issuer's user may write, and a path that nobody else uses",
  },
  E_ISSUER_RELOAD: {
    meaning: "the new issuer.yaml changes what only a restart can change",
    fix: "restart the issuer, or put trustDomain, socket, state, admin, audit and the addresses of http back",
  },
  E_ISSUER_UPSTREAM: {
    meaning: "the CA above the issuer's own cannot be used",
    fix: "correct upstreamAuthority: the CA's certificate, its key (mode 0600), and the roots above it",
  },
  E_ISSUER_NO_ENTRY: {
    meaning: "the issuer has no entry that matches the caller",
    fix: "compare the caller's selectors in the message with `issuer entries list`, and add or correct an entry",
  },
  E_ISSUER_ENTRY: {
    meaning: "an entry cannot be added to the running issuer, or removed from it",
    fix: "look at `issuer entries list`: entries of the file are changed there",
  },
  E_ISSUER_BUNDLE: {
    meaning: "a federated bundle cannot be set or removed by hand",
    fix: "set bundles of trust domains that federatesWith does not name, as a SPIFFE bundle or PEM",
  },
  E_ISSUER_ADMIN: {
    meaning: "the issuer's admin socket does not answer",
    fix: "start `countersign issuer run`, as the same user or root, with admin: unix:///path in issuer.yaml",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
